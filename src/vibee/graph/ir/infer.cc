// SPDX-License-Identifier: Apache-2.0
// Type rules of every op, and the verifier. A rule that fails says which op, and what it received.
#include <algorithm>

#include "vibee/graph/ir/rule.h"
#include "vibee/graph/ir/tensor_value.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/pointwise/compress.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

Status Rule::wrong(std::string_view why) const {
  std::string received;
  for (ValueId id : node.in) received += (received.empty() ? "" : ", ") + to_string(g.type(id));
  return error(Code::invalid, "[{}] {}; received ({})", info(node.op).name, why, received);
}

Result<Type> Rule::broadcast(Elem elem) const {
  const auto &a = in(0).dims, &b = in(1).dims;
  std::vector<Dim> dims(std::max(a.size(), b.size()));
  for (size_t i = 0; i < dims.size(); ++i) {
    const size_t back = dims.size() - i;
    const Dim x = back <= a.size() ? a[a.size() - back] : Dim{1}, y = back <= b.size() ? b[b.size() - back] : Dim{1};
    if (x == y || y == Dim{1}) {
      dims[i] = x;
    } else if (x == Dim{1}) {
      dims[i] = y;
    } else {
      return wrong("shapes do not broadcast");
    }
  }
  return Type{elem, std::move(dims)};
}

Result<int64_t> Rule::weight(size_t x, size_t w) const {
  const Type &a = in(x), &b = in(w);
  if (b.elem.kind != Elem::stored || b.dims.size() != 2 || b.dims[0].symbol || b.dims[1].symbol)
    return wrong(fmt::format("input {} must be a weight [n, k]", w));
  const bool rows = a.elem.kind == Elem::act8 ||
                    (node.op == Op::linear || node.op == Op::moe_route ? a.elem.is_float() : a.elem.is_f32());
  if (!rows || a.dims.size() != 2 || a.dims[1] != b.dims[1])
    return wrong(fmt::format("rows of input {} must have the weight's k", x));
  const ActRule rule = act_rule(b.elem.format);
  if (a.elem.kind == Elem::act8 && rule != a.elem.rule)
    return wrong(rule == ActRule::floats ? "quantised rows need a weight in an integer format"
                                         : "the weight's format wants rows quantised by another rule");
  if (rule == ActRule::row && b.dims[1].n > kMaxIntegerRow)
    return wrong(fmt::format("rows of more than {} cannot be summed as integers", kMaxIntegerRow));
  return b.dims[0].n;
}

bool Rule::heads(int64_t* heads, int64_t* kv, int64_t* d) const {
  *heads = node.integer("heads"), *kv = node.integer("kv_heads"), *d = node.integer("head_dim");
  for (int64_t n : {*heads, *kv, *d})
    if (n <= 0 || n > kMaxDim) return false;
  return *heads % *kv == 0;
}

Result<Elem> Rule::act_elem() const {
  const std::string_view rule = node.text("rule");
  if (rule.empty()) return kAct8;
  if (rule == "row") return kRow8;
  const auto elem = find_quantized(rule);
  const uint32_t group = elem ? act_rule_group(elem->rule) : 0;
  if (group == 0) return wrong("needs rule=\"row\", int4xN, atomN or none");
  if (in(0).dims.back().n % group != 0) return wrong(fmt::format("has rows of no multiple of {}", group));
  return *elem;
}

Result<Type> Rule::quantizable(Dim rows, int64_t n) const {
  if (node.integer("quantized") == 0) return rows_of(rows, n);
  if (n % 32 != 0) return wrong("can only quantise rows of a multiple of 32");
  return rows_of(rows, n, kAct8);
}

Result<std::vector<Type>> Rule::attention() const {
  int64_t heads, kv, d;
  if (!this->heads(&heads, &kv, &d)) return wrong("needs heads, kv_heads (a divisor of heads) and head_dim");
  if (node.integer("layer") < 0 || node.integer("layer") > kMaxDim || node.integer("window") < 0 ||
      node.integer("window") > INT32_MAX)
    return wrong("needs a layer and a window that are not negative");
  if (node.integer("causal", 1) == 0 && node.integer("window") != 0)
    return wrong("takes a window with a causal mask only");
  if (!f32(0, 2) || in(1).elem.kind != Elem::state) return wrong("takes f32 queries [T, heads*head_dim] and a state");
  if (in(0).dims[1] != Dim{heads * d}) return wrong(fmt::format("queries must be {} wide", heads * d));
  VIBEE_ASSIGN(Type out, quantizable(in(0).dims[0], heads * d));
  return std::vector<Type>{std::move(out)};
}

/// moe_route: rows [T, n], router [E, n] -> [T, 2k], the ids of the k chosen experts and their weights.
/// moe_gated: rows, route, gate [E, f, n], up [E, f, n] -> [T, k * f]. moe_down: those, route, down [E, n, f] -> [T,
/// n].
Result<std::vector<Type>> Rule::moe() const {
  const int64_t k = node.integer("k");
  if (k <= 0 || k > kMaxDim) return wrong("needs k > 0");
  if (!floats(0, 2) || in(0).dims[1].symbol) return wrong("takes rows of floats of known width");
  const Dim rows = in(0).dims[0];
  if (node.op == Op::moe_route) {
    VIBEE_ASSIGN(const int64_t experts, weight(0, 1));
    if (k > experts) return wrong(fmt::format("cannot choose {} of {} experts", k, experts));
    return std::vector<Type>{rows_of(rows, 2 * k)};
  }
  if (!f32(1, 2) || in(1).dims[0] != rows || in(1).dims[1] != Dim{2 * k})
    return wrong(fmt::format("input 1 must be a route [rows, {}]", 2 * k));
  const bool gated = node.op == Op::moe_gated;
  for (size_t w = 2; w < node.in.size(); ++w) {
    const auto& d = in(w).dims;
    if (in(w).elem.kind != Elem::stored || d.size() != 3 || d[0].symbol || d[1].symbol || d[2].symbol)
      return wrong(fmt::format("input {} must be a weight [experts, n, k]", w));
    if (d != in(2).dims || d[0].n < k) return wrong("weights must have one shape and at least k experts");
    if (in(0).dims[1].n != (gated ? d[2].n : k * d[2].n)) return wrong("rows must have the weight's k");
  }
  if (gated && !activation("gate")) return wrong("needs gate=\"silu\", \"gelu\" or \"gelu_tanh\"");
  return std::vector<Type>{rows_of(rows, gated ? k * in(2).dims[1].n : in(2).dims[1].n)};
}

Result<std::vector<Type>> Rule::linear_qkv() const {
  int64_t heads, kv, d;
  if (!this->heads(&heads, &kv, &d)) return wrong("needs heads, kv_heads (a divisor of heads) and head_dim");
  if (node.integer("layer") < 0 || node.integer("layer") > kMaxDim) return wrong("needs a layer that is not negative");
  for (size_t w = 1; w <= 3; ++w) {
    VIBEE_ASSIGN(const int64_t n, weight(0, w));
    if (n != (w == 1 ? heads : kv) * d)
      return wrong(fmt::format("weight {} must have {} rows", w, (w == 1 ? heads : kv) * d));
  }
  if (!f32(4, 2) || in(5).elem.kind != Elem::state) return wrong("input 4 must be a rotation table, input 5 a state");
  const Dim rows = in(0).dims[0];
  if (in(4).dims[0] != rows || in(4).dims[1].symbol || in(4).dims[1].n % 2 != 0 || in(4).dims[1].n > d)
    return wrong("the rotation table must have as many rows and an even width, no wider than a head");
  if (node.in.size() == 7) return wrong("takes two norm weights or none");
  for (size_t i = 6; i < node.in.size(); ++i)
    if (in(i) != Type{kF32, {Dim{d}}}) return wrong(fmt::format("input {} must be a norm weight f32[{}]", i, d));
  return std::vector<Type>{rows_of(rows, heads * d), rows_of(rows, kv * d), rows_of(rows, kv * d), Type{kState, {}}};
}

/// lora_down: rows [T, k] -> [T, rank]. lora_up: rows [T, n], those -> [T, n]. linear_lora: rows [T, k], a weight [n,
/// k], those [T, rank] -> [T, n].
Result<std::vector<Type>> Rule::lora() const {
  if (node.integer("target", -1) < 0 || node.integer("target") > kMaxDim)
    return wrong("needs the number of its product, target");
  const bool down = node.op == Op::lora_down;
  if (down) {
    const int64_t rank = node.integer("rank");
    if (rank <= 0 || rank > kMaxDim) return wrong("needs a rank");
    if (!f32(0, 2) || in(0).dims[0] != kRows || in(0).dims[1].symbol) return wrong("takes f32 rows [T, n]");
    return std::vector<Type>{rows_of(kRows, rank)};
  }
  const size_t h = node.in.size() - 1;
  if (!f32(h, 2) || in(h).dims[0] != kRows || in(h).dims[1].symbol)
    return wrong(fmt::format("input {} must be f32 rows [T, rank]", h));
  if (node.op == Op::linear_lora) {
    VIBEE_ASSIGN(const int64_t n, weight(0, 1));
    if (in(0).dims[0] != kRows) return wrong("takes rows [T, k]");
    return std::vector<Type>{rows_of(kRows, n)};
  }
  if (!f32(0, 2) || in(0).dims[0] != kRows || in(0).dims[1].symbol) return wrong("takes f32 rows [T, n]");
  return std::vector<Type>{in(0)};
}

Result<std::vector<Type>> Rule::run() const {
  using Types = std::vector<Type>;
  switch (node.op) {
    case Op::input:
    case Op::weight:
    case Op::state:
    case Op::constant: return wrong("a source has an explicit type");
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::maximum:
    case Op::minimum:
    case Op::less: {
      const auto number = [&](size_t i) { return node.op == Op::mul ? in(i).elem.is_float() : in(i).elem.is_f32(); };
      if (!number(0) || !number(1)) return wrong("takes two f32 tensors");
      VIBEE_ASSIGN(Type t, broadcast(kF32));
      return Types{std::move(t)};
    }
    case Op::neg:
    case Op::abs:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::tanh:
    case Op::scale:
    case Op::soft_cap:
      if (!in(0).elem.is_f32() || in(0).dims.empty()) return wrong("takes an f32 tensor");
      if (node.op == Op::soft_cap && !(node.number("cap") > 0)) return wrong("needs cap > 0");
      return Types{in(0)};
    case Op::permute_columns:
      if (!f32(0, 2) || in(1) != Type{kF32, {in(0).dims[1]}}) return wrong("takes f32 rows [m, k] and an order [k]");
      return Types{in(0)};
    case Op::softmax:
      if (!f32(0, 2)) return wrong("takes an f32 matrix");
      return Types{in(0)};
    case Op::select:
      if (in(0) != in(1) || in(1) != in(2) || !in(0).elem.is_f32())
        return wrong("takes three f32 tensors of one shape");
      return Types{in(0)};
    case Op::reshape: {
      const int64_t rows = node.integer("rows"), cols = node.integer("cols");
      if (!f32(0, 2) || rows <= 0 || cols <= 0 || rows > kMaxDim || cols > kMaxDim)
        return wrong("needs an f32 matrix, rows and cols");
      const Dim a = in(0).dims[0], b = in(0).dims[1];
      if (b.symbol || a.n * b.n != rows * cols) return wrong("must keep the number of elements");
      return Types{{kF32, {Dim{rows, a.symbol}, Dim{cols}}}};
    }
    case Op::transpose:
      if (!f32(0, 2)) return wrong("takes an f32 matrix");
      return Types{{kF32, {in(0).dims[1], in(0).dims[0]}}};
    case Op::slice: {
      const int64_t begin = node.integer("begin"), end = node.integer("end");
      if (!f32(0, 2) || in(0).dims[1].symbol) return wrong("takes an f32 matrix of known width");
      if (begin < 0 || end <= begin || end > in(0).dims[1].n)
        return wrong(fmt::format("columns {} to {} are not in it", begin, end));
      return Types{rows_of(in(0).dims[0], end - begin)};
    }
    case Op::concat:
      if (!f32(0, 2) || !f32(1, 2) || in(0).dims[0] != in(1).dims[0] || in(0).dims[1].symbol || in(1).dims[1].symbol)
        return wrong("takes two f32 matrices of as many rows and known widths");
      return Types{rows_of(in(0).dims[0], in(0).dims[1].n + in(1).dims[1].n)};
    case Op::sum:
    case Op::reduce_max:
      if (!f32(0, 2)) return wrong("takes an f32 matrix");
      return Types{rows_of(in(0).dims[0], 1)};
    case Op::matmul:
      if (!f32(0, 2) || !f32(1, 2) || in(0).dims[1] != in(1).dims[0]) return wrong("takes f32 [m, k] and [k, n]");
      return Types{{kF32, {in(0).dims[0], in(1).dims[1]}}};
    case Op::gather:
    case Op::embed:
      if (in(0).elem.kind != Elem::i32 || in(0).dims.size() != 1 || in(1).elem.kind != Elem::stored ||
          in(1).dims.size() != 2)
        return wrong("takes i32 indices and a table [n, d]");
      return Types{{kF32, {in(0).dims[0], in(1).dims[1]}}};
    case Op::scatter:
      if (in(0).elem.kind != Elem::i32 || in(0).dims.size() != 1 || !f32(1, 2) || in(2).elem.kind != Elem::stored ||
          in(2).dims.size() != 2 || in(1).dims[0] != in(0).dims[0] || in(1).dims[1] != in(2).dims[1])
        return wrong("takes i32 indices [m], f32 rows [m, d] and a table [n, d] of the result's shape");
      return Types{{kF32, in(2).dims}};
    case Op::expand:
    case Op::sum_to: {
      if (!in(0).elem.is_f32() || !in(1).elem.is_f32()) return wrong("takes two f32 tensors");
      VIBEE_ASSIGN(const Type wide, broadcast(kF32));
      if (wide != in(node.op == Op::expand ? 1 : 0)) return wrong("one shape must broadcast to the other");
      return Types{in(1)};
    }
    case Op::cast: {
      const auto to = parse_format(node.text("to"));
      const Elem elem{Elem::stored, to.ok() ? *to : Format::q4_0};
      if (!elem.is_float()) return wrong("needs to=\"f32\", \"bf16\" or \"f16\"");
      if (!in(0).elem.is_float() || in(0).elem == elem || (!in(0).elem.is_f32() && !elem.is_f32()))
        return wrong("makes 16 bits of f32, or f32 of 16 bits");
      return Types{{elem, in(0).dims}};
    }
    case Op::compress:
      if (!floats(0, 2) || in(0).dims[1].symbol) return wrong("takes rows of floats of known width");
      if (!is_compressed_width(node.integer("bits")) || node.integer("array", -1) < 0 ||
          node.integer("array") >> 20 != 0)
        return wrong("needs bits, 1, 2, 4 or 8, and the number of its array, below 2^20");
      return Types{{{Elem::compressed, Format::f32, uint8_t(node.integer("bits"))}, in(0).dims}};
    case Op::decompress:
      if (in(0).elem.kind != Elem::compressed) return wrong("takes compressed rows");
      return Types{{kF32, in(0).dims}};
    case Op::pad: {
      const int64_t before = node.integer("before"), after = node.integer("after");
      if (!f32(0, 2) || in(0).dims[1].symbol) return wrong("takes an f32 matrix of known width");
      if (before < 0 || after < 0 || before > kMaxDim || after > kMaxDim)
        return wrong("needs counts of columns before and after");
      return Types{rows_of(in(0).dims[0], before + in(0).dims[1].n + after)};
    }
    case Op::rms_norm:
    case Op::norm_quantize: {
      if (!f32(0, 2) || !f32(1, 1)) return wrong("takes f32 rows and an f32 weight [n]");
      if (in(1).dims[0].symbol || in(0).dims[1].symbol || in(0).dims[1].n % in(1).dims[0].n != 0)
        return wrong("rows must be whole groups of the weight's length");
      if (node.op == Op::norm_quantize && in(0).dims[1].n % 32 != 0)
        return wrong("can only quantise rows of a multiple of 32");
      if (node.op == Op::rms_norm) return Types{in(0)};
      if (node.in.size() > 2 && in(2) != Type{kF32, {in(0).dims[1]}}) return wrong("takes an order [k] of its columns");
      VIBEE_ASSIGN(const Elem quantised, act_elem());
      return Types{{quantised, in(0).dims}};
    }
    case Op::layer_norm:
      if (!f32(0, 2) || !f32(1, 1) || in(1) != in(2)) return wrong("takes f32 rows, an f32 weight [n] and a bias [n]");
      if (in(1).dims[0].symbol || in(0).dims[1] != in(1).dims[0]) return wrong("rows must have the weight's length");
      return Types{in(0)};
    case Op::activation:
      if (!floats(0, 2)) return wrong("takes a matrix of floats");
      if (!activation("kind")) return wrong("needs kind=\"silu\", \"gelu\" or \"gelu_tanh\"");
      return Types{{kF32, in(0).dims}};
    case Op::moe_route:
    case Op::moe_gated:
    case Op::moe_down: return moe();
    case Op::quantize: {
      if (!f32(0, 2) || in(0).dims[1].symbol || in(0).dims[1].n % 32 != 0)
        return wrong("takes f32 rows of a multiple of 32");
      if (node.in.size() > 1 && in(1) != Type{kF32, {in(0).dims[1]}}) return wrong("takes an order [k] of its columns");
      VIBEE_ASSIGN(const Elem quantised, act_elem());
      return Types{{quantised, in(0).dims}};
    }
    case Op::gated:
      if (!floats(0, 2) || !floats(1, 2) || in(0).dims != in(1).dims)
        return wrong("takes two matrices of floats of one shape");
      if (!activation("gate")) return wrong("needs gate=\"silu\", \"gelu\" or \"gelu_tanh\"");
      return Types{{kF32, in(0).dims}};
    case Op::linear: {
      VIBEE_TRY(operand_forms());
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      return Types{rows_of(in(0).dims[0], n)};
    }
    case Op::linear_add: {
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      if (in(2) != rows_of(in(0).dims[0], n)) return wrong("the residual must have the shape of the product");
      return Types{in(2)};
    }
    case Op::lora_down:
    case Op::lora_up:
    case Op::linear_lora: return lora();
    case Op::linear_gated: {
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      VIBEE_ASSIGN(const int64_t up, weight(0, 2));
      if (n != up) return wrong("both weights must have as many rows");
      if (!activation("gate")) return wrong("needs gate=\"silu\", \"gelu\" or \"gelu_tanh\"");
      VIBEE_ASSIGN(Type out, quantizable(in(0).dims[0], n));
      return Types{std::move(out)};
    }
    case Op::linear_qkv: return linear_qkv();
    case Op::rope_table: {
      if (in(0).elem.kind != Elem::i32 || in(0).dims.size() != 1) return wrong("takes i32 positions [T]");
      const int64_t dims = node.integer("dims");
      if (dims <= 0 || dims > kMaxDim || dims % 2 != 0 || !(node.number("base") > 0))
        return wrong("needs an even dims and base > 0");
      if (node.in.size() == 2 && in(1) != Type{kF32, {Dim{dims / 2}}})
        return wrong(fmt::format("factors must be f32[{}]", dims / 2));
      return Types{rows_of(in(0).dims[0], dims)};
    }
    case Op::rope: {
      const int64_t d = node.integer("head_dim");
      if (!f32(0, 2) || !f32(1, 2) || in(0).dims[0] != in(1).dims[0])
        return wrong("takes f32 rows and a rotation table");
      if (in(0).dims[1].symbol || d <= 0 || in(0).dims[1].n % d != 0 || in(1).dims[1].symbol || in(1).dims[1].n > d ||
          in(1).dims[1].n % 2 != 0)
        return wrong("rows must be whole heads, the table even and no wider than one");
      return Types{in(0)};
    }
    case Op::kv_append:
      if (in(0).elem.kind != Elem::state || !f32(1, 2) || in(1) != in(2))
        return wrong("takes a state, f32 keys and values of one shape");
      if (node.integer("layer") < 0 || node.integer("layer") > kMaxDim)
        return wrong("needs a layer that is not negative");
      return Types{in(0)};
    case Op::attention: return attention();
    case Op::self_attention:
    case Op::self_attention_dx: return self_attention();
    case Op::cross_entropy:
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw: return cross_entropy();
    case Op::moe_route_dx:
    case Op::moe_gated_dx:
    case Op::moe_gated_dw:
    case Op::moe_down_dx:
    case Op::moe_down_dw: return moe_gradient();
    case Op::rms_norm_dx:
    case Op::rms_norm_dw:
    case Op::layer_norm_dx:
    case Op::layer_norm_dw:
    case Op::activation_dx:
    case Op::linear_dx:
    case Op::linear_dw: return gradient();
    case Op::take_rows:
      if (!f32(0, 2) || in(0).dims[0] != kRows) return wrong("takes f32 rows [T, n]");
      return Types{{kF32, {kLogitsRows, in(0).dims[1]}}};
    case Op::pool_rows: {
      if (!f32(0, 2) || in(0).dims[0] != kRows) return wrong("takes f32 rows [T, n]");
      if (!find_pooling(node.text("kind"))) return wrong("needs kind=\"mean\", \"max\", \"cls\" or \"last\"");
      return Types{{kF32, {kLogitsRows, in(0).dims[1]}}};
    }
  }
  return wrong("has no type rule");
}

Result<std::vector<Type>> infer(const Graph& graph, const Node& node) {
  const OpInfo& op = info(node.op);
  if (node.in.size() < op.fewest || node.in.size() > op.most)
    return error(Code::invalid, "[{}] takes {} to {} inputs, received {}", op.name, op.fewest, op.most, node.in.size());
  auto types = Rule{graph, node}.run();
  if (!types.ok()) return types;
  for (const Type& type : *types) {
    const Status status = check_type(type);
    if (!status.ok()) return error(Code::invalid, "[{}] its result {}", op.name, status.message());
  }
  return types;
}

Status check_type(const Type& type) {
  if (type.elem.kind == Elem::state) return type.dims.empty() ? Status() : error(Code::invalid, "state has no sizes");
  if (type.dims.empty() || type.dims.size() > 3)
    return error(Code::invalid, "{} has no size or more than three", to_string(type));
  int64_t n = 1;
  for (Dim d : type.dims) {
    if (d.n <= 0 || d.n > kMaxDim || (d.symbol != 0 && d.symbol != 'T' && d.symbol != 'S'))
      return error(Code::invalid, "{} has a size that is not in 1 to {}", to_string(type), kMaxDim);
    if (n > kMaxElements / d.n)
      return error(Code::invalid, "{} has more than {} elements", to_string(type), kMaxElements);
    n *= d.n;
  }
  const Dim last = type.dims.back();
  if (type.elem.kind == Elem::act8 && (type.dims.size() != 2 || last.symbol || last.n % 32 != 0))
    return error(Code::invalid, "{}: act8 rows must be multiples of 32", to_string(type));
  if (type.elem.kind == Elem::compressed &&
      (type.dims.size() != 2 || last.symbol || !is_compressed_width(type.elem.bits)))
    return error(Code::invalid, "{}: compressed are rows of known width", to_string(type));
  if (type.elem.kind == Elem::stored && !type.elem.is_f32() &&
      (last.symbol || last.n % info(type.elem.format).block_elems != 0))
    return error(Code::invalid, "{}: rows must be whole blocks of {}", to_string(type),
                 info(type.elem.format).block_elems);
  return {};
}

Status verify(const Graph& graph, size_t* bad_node) {
  size_t ignored;
  size_t& i = bad_node ? *bad_node : ignored;
  std::vector<bool> defined(graph.values.size());
  std::vector<bool> consumed(graph.values.size());
  for (i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::string where = fmt::format("node {} ({})", i, info(node.op).name);
    for (ValueId id : node.in) {
      if (id >= graph.values.size() || !defined[id])
        return error(Code::invalid, "{}: %{} is used before it is defined", where, id);
      const bool writes = node.op == Op::kv_append || node.op == Op::linear_qkv;
      if (graph.type(id).elem.kind == Elem::state && consumed[id])
        return error(Code::invalid, "{}: state %{} was already replaced by a later one", where, id);
      if (graph.type(id).elem.kind == Elem::state && writes) consumed[id] = true;
    }
    if (info(node.op).level == OpLevel::source) {
      if (!node.in.empty() || node.out.size() != 1 || node.out[0] >= graph.values.size())
        return error(Code::invalid, "{}: a source has one output and no inputs", where);
      const Type& type = graph.type(node.out[0]);
      VIBEE_TRY(check_type(type).within(where));
      if ((node.op == Op::state) != (type.elem.kind == Elem::state))
        return error(Code::invalid, "{}: cannot be {}", where, to_string(type));
      if (node.op == Op::constant) VIBEE_TRY(check_constant(node, type).within(where));
    } else {
      auto types = infer(graph, node);
      if (!types.ok()) return types.take_status().within(where);
      if (types->size() != node.out.size())
        return error(Code::invalid, "{}: has {} outputs, {} expected", where, node.out.size(), types->size());
      for (size_t o = 0; o < node.out.size(); ++o)
        if (node.out[o] < graph.values.size() && (*types)[o] != graph.type(node.out[o]))
          return error(Code::invalid, "{}: %{} is declared {}, inferred {}", where, node.out[o],
                       to_string(graph.type(node.out[o])), to_string((*types)[o]));
    }
    for (ValueId id : node.out) {
      if (id >= graph.values.size() || defined[id]) return error(Code::invalid, "{}: %{} is defined twice", where, id);
      if (graph.values[id].producer != i) return error(Code::invalid, "{}: %{} names another producer", where, id);
      defined[id] = true;
    }
  }
  for (ValueId id : graph.outputs)
    if (id >= graph.values.size() || !defined[id]) return error(Code::invalid, "return: %{} is not defined", id);
  return {};
}

}  // namespace vibee
