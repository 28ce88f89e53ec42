// SPDX-License-Identifier: Apache-2.0
// Type rules of every op, and the verifier. A rule that fails says which op, and what it received.
#include <algorithm>

#include "vibee/graph/ir/ir.h"

namespace vibee {
namespace {

struct Rule {
  const Graph& g;
  const Node& node;

  const Type& in(size_t i) const { return g.type(node.in[i]); }
  Status wrong(std::string_view why) const {
    std::string received;
    for (ValueId id : node.in) received += (received.empty() ? "" : ", ") + to_string(g.type(id));
    return error(Code::invalid, "[{}] {}; received ({})", info(node.op).name, why, received);
  }
  bool f32(size_t i, size_t rank) const { return in(i).elem.is_f32() && in(i).dims.size() == rank; }
  static Type rows_of(Dim rows, int64_t n, Elem elem = kF32) { return {elem, {rows, Dim{n}}}; }

  /// Shapes broadcast from the right as in NumPy, sizes equal or 1.
  Result<Type> broadcast(Elem elem) const {
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

  /// Checks a weight [n, k] against rows of width k and gives n.
  Result<int64_t> weight(size_t x, size_t w) const {
    const Type &a = in(x), &b = in(w);
    if (b.elem.kind != Elem::stored || b.dims.size() != 2 || b.dims[0].symbol || b.dims[1].symbol)
      return wrong(fmt::format("input {} must be a weight [n, k]", w));
    if ((a.elem.kind != Elem::act8 && !a.elem.is_f32()) || a.dims.size() != 2 || a.dims[1] != b.dims[1])
      return wrong(fmt::format("rows of input {} must have the weight's k", x));
    return b.dims[0].n;
  }

  Result<std::vector<Type>> run() const;
  Result<std::vector<Type>> attention() const;
  Result<std::vector<Type>> linear_qkv() const;
};

Result<std::vector<Type>> Rule::attention() const {
  const int64_t heads = node.integer("heads"), kv = node.integer("kv_heads"), d = node.integer("head_dim");
  if (heads <= 0 || kv <= 0 || d <= 0 || heads % kv != 0) return wrong("needs heads, kv_heads (a divisor of heads) and head_dim");
  if (!f32(0, 2) || in(1).elem.kind != Elem::state) return wrong("takes f32 queries [T, heads*head_dim] and a state");
  if (in(0).dims[1] != Dim{heads * d}) return wrong(fmt::format("queries must be {} wide", heads * d));
  return std::vector<Type>{rows_of(in(0).dims[0], heads * d, node.integer("quantized") ? kAct8 : kF32)};
}

Result<std::vector<Type>> Rule::linear_qkv() const {
  const int64_t heads = node.integer("heads"), kv = node.integer("kv_heads"), d = node.integer("head_dim");
  for (size_t w = 1; w <= 3; ++w) {
    VIBEE_ASSIGN(const int64_t n, weight(0, w));
    if (n != (w == 1 ? heads : kv) * d) return wrong(fmt::format("weight {} must have {} rows", w, (w == 1 ? heads : kv) * d));
  }
  if (!f32(4, 2) || in(5).elem.kind != Elem::state) return wrong("input 4 must be a rotation table, input 5 a state");
  const Dim rows = in(0).dims[0];
  return std::vector<Type>{rows_of(rows, heads * d), rows_of(rows, kv * d), rows_of(rows, kv * d), Type{kState, {}}};
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
      if (!in(0).elem.is_f32() || !in(1).elem.is_f32()) return wrong("takes two f32 tensors");
      VIBEE_ASSIGN(Type t, broadcast(kF32));
      return Types{std::move(t)};
    }
    case Op::neg:
    case Op::abs:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::tanh:
    case Op::softmax:
    case Op::scale:
    case Op::soft_cap:
      if (!in(0).elem.is_f32() || in(0).dims.empty()) return wrong("takes an f32 tensor");
      if (node.op == Op::soft_cap && !(node.number("cap") > 0)) return wrong("needs cap > 0");
      return Types{in(0)};
    case Op::select:
      if (in(0) != in(1) || in(1) != in(2) || !in(0).elem.is_f32()) return wrong("takes three f32 tensors of one shape");
      return Types{in(0)};
    case Op::reshape: {
      const int64_t rows = node.integer("rows"), cols = node.integer("cols");
      if (!f32(0, 2) || rows <= 0 || cols <= 0) return wrong("needs an f32 matrix, rows and cols");
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
      if (begin < 0 || end <= begin || end > in(0).dims[1].n) return wrong(fmt::format("columns {} to {} are not in it", begin, end));
      return Types{rows_of(in(0).dims[0], end - begin)};
    }
    case Op::concat:
      if (!f32(0, 2) || !f32(1, 2) || in(0).dims[0] != in(1).dims[0]) return wrong("takes two f32 matrices of as many rows");
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
      if (in(0).elem.kind != Elem::i32 || in(0).dims.size() != 1 || in(1).elem.kind != Elem::stored || in(1).dims.size() != 2)
        return wrong("takes i32 indices and a table [n, d]");
      return Types{{kF32, {in(0).dims[0], in(1).dims[1]}}};
    case Op::rms_norm:
    case Op::norm_quantize: {
      if (!f32(0, 2) || !f32(1, 1)) return wrong("takes f32 rows and an f32 weight [n]");
      if (in(1).dims[0].n <= 0 || in(0).dims[1].n % in(1).dims[0].n != 0) return wrong("rows must be whole groups of the weight's length");
      return Types{{node.op == Op::rms_norm ? kF32 : kAct8, in(0).dims}};
    }
    case Op::quantize:
      if (!f32(0, 2) || in(0).dims[1].symbol || in(0).dims[1].n % 32 != 0) return wrong("takes f32 rows of a multiple of 32");
      return Types{{kAct8, in(0).dims}};
    case Op::gated:
      if (in(0) != in(1) || !in(0).elem.is_f32() || in(0).dims.size() != 2) return wrong("takes two f32 matrices of one shape");
      if (node.text("gate") != "silu" && node.text("gate") != "gelu_tanh") return wrong("needs gate=\"silu\" or \"gelu_tanh\"");
      return Types{in(0)};
    case Op::linear: {
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      return Types{rows_of(in(0).dims[0], n)};
    }
    case Op::linear_add: {
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      if (in(2) != rows_of(in(0).dims[0], n)) return wrong("the residual must have the shape of the product");
      return Types{in(2)};
    }
    case Op::linear_gated: {
      VIBEE_ASSIGN(const int64_t n, weight(0, 1));
      VIBEE_ASSIGN(const int64_t up, weight(0, 2));
      if (n != up) return wrong("both weights must have as many rows");
      return Types{rows_of(in(0).dims[0], n, node.integer("quantized") ? kAct8 : kF32)};
    }
    case Op::linear_qkv: return linear_qkv();
    case Op::rope_table: {
      if (in(0).elem.kind != Elem::i32 || in(0).dims.size() != 1) return wrong("takes i32 positions [T]");
      const int64_t dims = node.integer("dims");
      if (dims <= 0 || dims % 2 != 0 || !(node.number("base") > 0)) return wrong("needs an even dims and base > 0");
      return Types{rows_of(in(0).dims[0], dims)};
    }
    case Op::rope: {
      const int64_t d = node.integer("head_dim");
      if (!f32(0, 2) || !f32(1, 2) || in(0).dims[0] != in(1).dims[0]) return wrong("takes f32 rows and a rotation table");
      if (d <= 0 || in(0).dims[1].n % d != 0 || in(1).dims[1].n > d) return wrong("rows must be whole heads, the table no wider than one");
      return Types{in(0)};
    }
    case Op::kv_append:
      if (in(0).elem.kind != Elem::state || !f32(1, 2) || in(1) != in(2)) return wrong("takes a state, f32 keys and values of one shape");
      return Types{in(0)};
    case Op::attention: return attention();
    case Op::take_rows:
      if (!f32(0, 2) || in(0).dims[0] != kRows) return wrong("takes f32 rows [T, n]");
      return Types{{kF32, {kLogitsRows, in(0).dims[1]}}};
  }
  return wrong("has no type rule");
}

}  // namespace

Result<std::vector<Type>> infer(const Graph& graph, const Node& node) {
  const OpInfo& op = info(node.op);
  if (node.in.size() < op.fewest || node.in.size() > op.most)
    return error(Code::invalid, "[{}] takes {} to {} inputs, received {}", op.name, op.fewest, op.most, node.in.size());
  return Rule{graph, node}.run();
}

Status verify(const Graph& graph) {
  std::vector<bool> defined(graph.values.size());
  std::vector<bool> consumed(graph.values.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::string where = fmt::format("node {} ({})", i, info(node.op).name);
    for (ValueId id : node.in) {
      if (id >= graph.values.size() || !defined[id]) return error(Code::invalid, "{}: %{} is used before it is defined", where, id);
      const bool writes = node.op == Op::kv_append || node.op == Op::linear_qkv;
      if (graph.type(id).elem.kind == Elem::state && consumed[id])
        return error(Code::invalid, "{}: state %{} was already replaced by a later one", where, id);
      if (graph.type(id).elem.kind == Elem::state && writes) consumed[id] = true;
    }
    if (info(node.op).level != OpLevel::source) {
      auto types = infer(graph, node);
      if (!types.ok()) return types.take_status().within(where);
      if (types->size() != node.out.size()) return error(Code::invalid, "{}: has {} outputs, {} expected", where, node.out.size(), types->size());
      for (size_t o = 0; o < node.out.size(); ++o)
        if (node.out[o] < graph.values.size() && (*types)[o] != graph.type(node.out[o]))
          return error(Code::invalid, "{}: %{} is declared {}, inferred {}", where, node.out[o], to_string(graph.type(node.out[o])),
                       to_string((*types)[o]));
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
