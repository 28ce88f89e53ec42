// SPDX-License-Identifier: Apache-2.0
// Nodes of training graphs on the threads of a team: by rows, or by columns where rows are summed.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/trig.h"
#include "vibee/graph/exec/stored_products.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/graph/exec/train_gemm.h"
#include "vibee/graph/exec/train_products.h"
#include "vibee/kernels/pointwise/compress.h"

namespace vibee {
namespace {

void embed(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto by = float(node.number("scale", 1));
  c.each_row([&](uint32_t r, uint64_t at) {
    const auto id = uint32_t(c.ids(0)[r]);
    if (is_packed(c.in_type(1))) {
      w.plan.decode(node.in[1], {id, id + 1}, c.out() + at);
    } else {
      std::memcpy(c.out() + at, c.in(1) + uint64_t(id) * c.width(), c.width() * 4);
    }
    if (by != 1) w.pointwise.scale(c.out() + at, by, c.width(), c.out() + at);
  });
}
void add(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  if (c.in_type(0) == c.in_type(1)) {
    if (c.out_type().dims.size() == 2) {
      c.elements([&](uint64_t at, uint32_t n) { w.pointwise.add(c.in(0) + at, c.in(1) + at, n, c.out() + at); });
    } else if (w.tid == 0) {
      w.pointwise.add(c.in(0), c.in(1), uint32_t(elements(c.out_type(), {int64_t(w.rows), 0})), c.out());
    }
    return;
  }
  c.each_row([&](uint32_t, uint64_t at) { w.pointwise.add(c.in(0) + at, c.in(1), c.width(), c.out() + at); });
}
void mul(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  c.floats([&](const float* a, const float* b, uint32_t n, float* out) { w.gradients.mul(a, b, n, out); });
}
void scale(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto by = float(node.number("by", 1));
  c.elements([&](uint64_t at, uint32_t n) { w.pointwise.scale(c.in(0) + at, by, n, c.out() + at); });
}
void soft_cap(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto cap = float(node.number("cap"));
  c.elements([&](uint64_t at, uint32_t n) { w.pointwise.soft_cap(c.in(0) + at, cap, n, c.out() + at); });
}
void permute_columns(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const bool back = node.integer("inverse") != 0;
  const float* const order = c.in(1);
  c.each_row([&](uint32_t, uint64_t at) {
    for (uint32_t i = 0; i < c.width(); ++i) {
      const auto other = uint32_t(order[i]);
      c.out()[at + (back ? other : i)] = c.in(0)[at + (back ? i : other)];
    }
  });
}
void activation(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Gate gate = gate_named(node.text("kind"));
  c.floats([&](const float* x, const float*, uint32_t n, float* out) { w.pointwise.activate(gate, x, n, out); });
}
void activation_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Gate gate = gate_named(node.text("kind"));
  c.floats(
      [&](const float* x, const float* g, uint32_t n, float* out) { w.gradients.activation_dx(gate, x, g, n, out); });
}
void gated(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Gate gate = gate_named(node.text("gate"));
  c.floats([&](const float* a, const float* b, uint32_t n, float* out) { w.pointwise.gated(gate, a, b, n, out); });
}

void rms_norm(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto n = uint32_t(c.in_type(1).dims[0].n);
  c.each_row([&](uint32_t, uint64_t at) {
    for (uint32_t i = 0; i < c.width(); i += n)
      w.pointwise.rms_norm(c.in(0) + at + i, c.in(1), n, c.eps(), c.out() + at + i);
  });
}
void layer_norm(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  c.each_row([&](uint32_t, uint64_t at) {
    w.pointwise.layer_norm(c.in(0) + at, c.in(1), c.in(2), c.width(), c.eps(), c.out() + at);
  });
}
void norm_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto n = uint32_t(c.in_type(1).dims[0].n);
  const auto kernel = node.op == Op::rms_norm_dx ? w.gradients.rms_norm_dx : w.gradients.layer_norm_dx;
  c.each_row([&](uint32_t, uint64_t at) {
    for (uint32_t i = 0; i < c.width(); i += n)
      kernel(c.in(0) + at + i, c.in(1), c.in(2) + at + i, n, c.eps(), c.out() + at + i);
  });
}
/// Every thread takes some columns of all rows, and finds each row's statistics for itself.
void norm_dw(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const uint32_t n = c.width(), rows = c.rows(c.in_type(0)) * uint32_t(c.in_type(0).dims[1].n / n);
  const Range mine = w.share_of(n);
  std::memset(c.out() + mine.begin, 0, (mine.end - mine.begin) * 4);
  if (mine.begin == mine.end) return;
  for (uint32_t r = 0; r < rows; ++r) {
    const uint64_t at = uint64_t(r) * n;
    float mean, scale;
    w.gradients.norm_statistics(c.in(0) + at, n, c.eps(), node.op == Op::layer_norm_dw, &mean, &scale);
    w.gradients.add_normed(c.in(0) + at + mine.begin, c.in(2) + at + mine.begin, mean, scale, mine.end - mine.begin,
                           c.out() + mine.begin);
  }
}

/// Columns over ascending rows.
void sum_to(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Range mine = w.share_of(c.width());
  std::memset(c.out() + mine.begin, 0, (mine.end - mine.begin) * 4);
  for (uint32_t r = 0; r < c.rows(c.in_type(0)); ++r)
    w.pointwise.add(c.out() + mine.begin, c.in(0) + uint64_t(r) * c.width() + mine.begin, mine.end - mine.begin,
                    c.out() + mine.begin);
}
/// Every thread takes some rows of the table, and adds what ascending rows bring to them.
void scatter(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Range mine = w.share_of(c.rows(c.out_type()));
  const uint32_t n = c.width();
  std::memset(c.out() + uint64_t(mine.begin) * n, 0, uint64_t(mine.end - mine.begin) * n * 4);
  for (uint32_t r = 0; r < c.rows(c.in_type(1)); ++r) {
    const auto to = uint32_t(c.ids(0)[r]);  // -1 is nobody's
    if (to < mine.begin || to >= mine.end) continue;
    w.pointwise.add(c.out() + uint64_t(to) * n, c.in(1) + uint64_t(r) * n, n, c.out() + uint64_t(to) * n);
  }
}

/// Blocks of a weight are columns of y, and depth of dx, whose sums go
/// on from block to block.
void linear(const Node& node, const TrainWorker& w) {
  if (is_rounded_product(node)) return rounded_product(node, w);
  if (is_stored_product(node)) return stored_product(node, w);
  const TrainCall c{node, w};
  const auto k = uint32_t(c.in_type(1).dims[1].n);
  c.weight_rows(1, [&](Range rows, const DenseOperand& weight) {
    dense_product(w, c.rows_of(0), weight.transpose(), c.rows(c.out_type()), rows.end - rows.begin, k,
                  c.out() + rows.begin, c.width());
  });
}
void linear_dx(const Node& node, const TrainWorker& w) {
  if (is_rounded_product(node)) return rounded_product(node, w);
  if (is_stored_product(node)) return stored_product(node, w);
  const TrainCall c{node, w};
  const auto n = uint64_t(c.in_type(1).dims[0].n);
  c.weight_rows(1, [&](Range rows, const DenseOperand& weight) {
    dense_product(w, {c.in(0) + rows.begin, n}, weight, c.rows(c.out_type()), c.width(), rows.end - rows.begin, c.out(),
                  c.width(), rows.begin > 0);
  });
}
void linear_dw(const Node& node, const TrainWorker& w) {
  if (is_rounded_product(node)) return rounded_product(node, w);
  const TrainCall c{node, w};
  dense_product(w, c.rows_of(0).transpose(), c.rows_of(1), c.rows(c.out_type()), c.width(), c.rows(c.in_type(0)),
                c.out(), c.width());
}

/// Between f32 and floats of 16 bits.
void cast(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const bool narrow = c.in_type(0).elem.is_f32();
  const bool half = (narrow ? c.out_type() : c.in_type(0)).elem.format == Format::f16;
  auto* const stored = reinterpret_cast<uint16_t*>(w.plan.stored(narrow ? node.out[0] : node.in[0]));
  c.elements([&](uint64_t at, uint32_t n) {
    if (narrow) return (half ? w.pointwise.to_half : w.pointwise.to_bf16)(c.in(0) + at, n, stored + at);
    (half ? w.pointwise.from_half : w.pointwise.from_bf16)(stored + at, n, c.out() + at);
  });
}

/// Rows in few bits, for the backward part.
void compress(const Node& node, const TrainWorker& w) {
  if (w.loss_only) return;
  const TrainCall c{node, w};
  const CompressKernels& kernels = compress_kernels(w.plan.options().isa);
  const auto bits = uint32_t(node.integer("bits")), array = uint32_t(node.integer("array"));
  const uint64_t row_bytes = compressed_bytes(c.width(), bits);
  alignas(64) float group[kCompressGroup];
  c.each_row([&](uint32_t r, uint64_t at) {
    uint8_t* const to = w.plan.stored(node.out[0]) + r * row_bytes;
    RoundingKey key = compress_key(w.rounding, array, r, c.width());
    if (!is_packed(c.in_type(0))) return kernels.compress(c.in(0) + at, c.width(), bits, key, to);
    for (uint32_t i = 0; i < c.width(); i += kCompressGroup, key.element += kCompressGroup) {
      const uint32_t n = std::min(kCompressGroup, c.width() - i);
      c.widen(0, at + i, n, group);
      kernels.compress(group, n, bits, key, to + compressed_bytes(i, bits));
    }
  });
}
void decompress(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const CompressKernels& kernels = compress_kernels(w.plan.options().isa);
  const uint32_t bits = c.in_type(0).elem.bits;
  const uint64_t row_bytes = compressed_bytes(c.width(), bits);
  c.each_row([&](uint32_t r, uint64_t at) {
    kernels.decompress(w.plan.stored(node.in[0]) + r * row_bytes, c.width(), bits, c.out() + at);
  });
}

void rope_table(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const uint32_t pairs = c.width() / 2;
  const std::span<const double> turn = w.plan.frequencies(node.out[0]);
  const double by = node.number("scale", 1);
  c.each_row([&](uint32_t r, uint64_t at) {
    for (uint32_t i = 0; i < pairs; ++i) {
      double sine, cosine;
      sincos_fixed(c.ids(0)[r] * turn[i], &sine, &cosine);
      c.out()[at + i] = float(by * cosine);
      c.out()[at + pairs + i] = float(by * sine);
    }
  });
}
void rope(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto turned = uint32_t(c.in_type(1).dims[1].n), pairs = turned / 2, d = uint32_t(node.integer("head_dim"));
  const bool inverse = node.integer("inverse") != 0, split = node.text("pairs") == "split";
  float back[kMaxHeadDim];
  c.each_row([&](uint32_t r, uint64_t at) {
    const float *cosine = c.in(1) + uint64_t(r) * turned, *sine = cosine + pairs;
    if (inverse) {
      for (uint32_t i = 0; i < pairs; ++i) back[i] = -sine[i];
      sine = back;
    }
    std::memcpy(c.out() + at, c.in(0) + at, c.width() * 4);
    for (uint32_t h = 0; h < c.width(); h += d) w.pointwise.rope(c.out() + at + h, cosine, sine, pairs, split);
  });
}

/// This thread's share of documents times KV heads, cut where the cost so far reaches it. An item that costs more than
/// a thread's share is several parts.
template <class F>
void each_item(const TrainWorker& w, uint32_t kv_heads, F&& f) {
  const auto cost = [](Document d) { return double(d.end - d.begin) * (d.end - d.begin); };
  double all = 0, before = 0;
  for (const Document& d : w.documents) all += cost(d) * kv_heads;
  for (const Document& d : w.documents) {
    const auto parts = uint32_t(std::ceil(cost(d) * w.threads / all));
    for (uint32_t i = 0; i < kv_heads * parts; ++i, before += cost(d) / parts)
      if (std::min(uint32_t((before + cost(d) / parts / 2) / all * w.threads), w.threads - 1) == w.tid)
        f(AttentionItem{d, i / parts, i % parts, parts});
  }
}
void attend(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const AttentionShape shape = attention_shape(node);
  const AttentionKernel& kernel = attention_kernel(KvFormat::f32, w.plan.options().isa);
  each_item(w, shape.kv_heads, [&](const AttentionItem& item) {
    self_attention(kernel, shape, {c.in(0), c.in(1), c.in(2), c.out(0), c.out(1)}, item, w.plan.scratch(w.tid));
  });
}
void attend_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const AttentionShape shape = attention_shape(node);
  const SelfAttentionBackward backward = self_attention_backward(w.plan.options().isa);
  const SelfAttentionGradient x = {c.in(0), c.in(1), c.in(2), c.in(4), c.in(5), c.in(6), c.out(0), c.out(1), c.out(2)};
  each_item(w, shape.kv_heads, [&](const AttentionItem& item) { backward(shape, x, item, w.plan.scratch(w.tid)); });
}

struct Trainable {
  Op op;
  TrainFn run;
};
constexpr Trainable kTrainable[] = {
    {Op::embed, embed},
    {Op::add, add},
    {Op::mul, mul},
    {Op::scale, scale},
    {Op::soft_cap, soft_cap},
    {Op::permute_columns, permute_columns},
    {Op::activation, activation},
    {Op::activation_dx, activation_dx},
    {Op::gated, gated},
    {Op::rms_norm, rms_norm},
    {Op::rms_norm_dx, norm_dx},
    {Op::rms_norm_dw, norm_dw},
    {Op::layer_norm, layer_norm},
    {Op::layer_norm_dx, norm_dx},
    {Op::layer_norm_dw, norm_dw},
    {Op::cast, cast},
    {Op::compress, compress},
    {Op::decompress, decompress},
    {Op::sum_to, sum_to},
    {Op::scatter, scatter},
    {Op::linear, linear},
    {Op::linear_dx, linear_dx},
    {Op::linear_dw, linear_dw},
    {Op::rope_table, rope_table},
    {Op::rope, rope},
    {Op::self_attention, attend},
    {Op::self_attention_dx, attend_dx},
    {Op::moe_route, train_moe_route},
    {Op::moe_route_dx, train_moe_route_dx},
    {Op::moe_gated, train_moe_gated},
    {Op::moe_gated_dx, train_moe_gated_dx},
    {Op::moe_gated_dw, train_moe_gated_dw},
    {Op::moe_down, train_moe_down},
    {Op::moe_down_dx, train_moe_down_dx},
    {Op::moe_down_dw, train_moe_down_dw},
    {Op::cross_entropy, train_cross_entropy},
    {Op::cross_entropy_dx, train_cross_entropy_dx},
    {Op::cross_entropy_dw, train_cross_entropy_dw},
};

}  // namespace

uint32_t decoded_rows(const Type& weight) {
  const int64_t n = weight.dims[0].n, most = (int64_t(1) << 20) / weight.dims[1].n;  // 4 MiB
  return uint32_t(std::min(n, std::max<int64_t>(16, most / 16 * 16)));
}

TrainFn train_function(Op op) {
  for (const Trainable& t : kTrainable)
    if (t.op == op) return t.run;
  return nullptr;
}

Status check_trainable(const Graph& g, const Node& node) {
  const auto no = [&](std::string_view why) {
    return error(Code::unsupported, "[{}] {}; only the interpreter evaluates this", info(node.op).name, why);
  };
  if (train_function(node.op) == nullptr) return no("has no kernel for training");
  const auto type = [&](size_t i) -> const Type& { return g.type(node.in[i]); };
  const auto reads = [&](size_t i) {
    const bool decodes = node.op == Op::embed || node.op == Op::linear || node.op == Op::linear_dx ||
                         node.op == Op::cross_entropy || node.op == Op::cross_entropy_dx ||
                         node.op == Op::cross_entropy_dw;
    const bool shape_alone = node.op == Op::scatter && i == 2;
    if (!is_packed(type(i)) || (decodes && i == 1) || shape_alone) return true;
    if (is_blocks(type(i))) return false;
    if (type(i).elem.kind == Elem::compressed)
      return node.op == Op::decompress && g.producer(node.in[i]).op == Op::compress;
    switch (node.op) {
      case Op::compress:
      case Op::cast:
      case Op::mul:
      case Op::activation:
      case Op::gated:
      case Op::moe_route: return true;
      case Op::linear:
      case Op::activation_dx: return i == 0;
      case Op::linear_dw: return i == 1;
      case Op::moe_gated:
      case Op::moe_gated_dx:
      case Op::moe_gated_dw: return i == 0 || i == 2 || i == 3;
      case Op::moe_down:
      case Op::moe_down_dx:
      case Op::moe_down_dw: return i == 0 || i == 2;
      default: return false;
    }
  };
  if (is_rounded_product(node) || is_rounded_loss(node)) VIBEE_TRY(check_rounded_product(g, node));
  if (is_stored_product(node)) VIBEE_TRY(check_stored_product(g, node));
  for (size_t i = 0; i < node.in.size(); ++i)
    if (!reads(i)) return no(fmt::format("does not read {} as input {}", to_string(type(i)), i));
  const auto& dims = g.type(node.out[0]).dims;
  switch (node.op) {
    case Op::add:
      if (type(0) != type(1) &&
          (dims.size() != 2 || type(0) != g.type(node.out[0]) || type(1) != Type{kF32, {dims[1]}}))
        return no("adds values of one shape, or a bias to rows");
      return {};
    case Op::mul:
      return type(0).dims == type(1).dims && dims.size() == 2 ? Status() : no("multiplies rows of one shape");
    case Op::scale:
    case Op::cast:
    case Op::soft_cap: return dims.size() == 2 ? Status() : no("takes rows");
    case Op::sum_to:
      return type(0).dims.size() == 2 && type(1) == Type{kF32, {type(0).dims[1]}} ? Status()
                                                                                  : no("sums columns of rows");
    case Op::rope: return type(1).dims[1].n <= 2 * int64_t(kMaxHeadDim) ? Status() : no("turns at most 256 pairs");
    case Op::moe_route: return type(0).dims[0] == kRows ? Status() : no("takes all rows of a step");
    case Op::moe_route_dx:
    case Op::moe_gated:
    case Op::moe_gated_dx:
    case Op::moe_gated_dw:
    case Op::moe_down:
    case Op::moe_down_dx:
    case Op::moe_down_dw:  // the ids of a route are trusted
      return g.producer(node.in[1]).op == Op::moe_route ? Status() : no("takes the result of moe_route as input 1");
    case Op::cross_entropy:
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw: return type(0).dims[0] == kRows ? Status() : no("takes all rows of a step");
    case Op::embed:
    case Op::scatter:
    case Op::rope_table:
      return g.producer(node.in[0]).op == Op::input && type(0).dims[0] == kRows ? Status()
                                                                                : no("reads an input of the step");
    default: return {};
  }
}

}  // namespace vibee
