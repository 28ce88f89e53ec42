// SPDX-License-Identifier: Apache-2.0
// The rules: y = op(x...) and g, the gradient of y, to the gradient of each x.
#include "vibee/graph/autodiff/gradient_rules.h"

namespace vibee {

Attrs Backward::attrs(Attrs more) const {
  Attrs all = node_.attrs;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

namespace {

// Primitives.

void gradient_add(Backward& b) {
  for (size_t i = 0; i < 2; ++i)
    if (b.wants(i)) b.give(i, b.summed(b.g(), i));
}
void gradient_sub(Backward& b) {
  if (b.wants(0)) b.give(0, b.summed(b.g(), 0));
  if (b.wants(1)) b.give(1, b.op(Op::neg, {b.summed(b.g(), 1)}));
}
void gradient_mul(Backward& b) {
  for (size_t i = 0; i < 2; ++i)
    if (b.wants(i)) b.give(i, b.summed(b.op(Op::mul, {b.g(), b.in(1 - i)}), i));
}
void gradient_div(Backward& b) {
  if (b.wants(0)) b.give(0, b.summed(b.op(Op::div, {b.g(), b.in(1)}), 0));
  if (b.wants(1)) {
    const ValueId d = b.op(Op::div, {b.op(Op::mul, {b.g(), b.out()}), b.in(1)});
    b.give(1, b.op(Op::neg, {b.summed(d, 1)}));
  }
}

/// The first operand's where the condition holds, else the second's.
void gradient_either(Backward& b, ValueId first_wins) {
  const ValueId zeros = b.zeros(b.g());
  if (b.wants(0)) b.give(0, b.summed(b.op(Op::select, {first_wins, b.g(), zeros}), 0));
  if (b.wants(1)) b.give(1, b.summed(b.op(Op::select, {first_wins, zeros, b.g()}), 1));
}
void gradient_maximum(Backward& b) { gradient_either(b, b.op(Op::less, {b.in(1), b.in(0)})); }
void gradient_minimum(Backward& b) { gradient_either(b, b.op(Op::less, {b.in(0), b.in(1)})); }

void gradient_neg(Backward& b) { b.give(0, b.op(Op::neg, {b.g()})); }
/// Zero where x is.
void gradient_abs(Backward& b) {
  const ValueId zero = b.number(0), minus = b.op(Op::neg, {b.g()});
  const ValueId below = b.op(Op::select, {b.op(Op::less, {b.in(0), zero}), minus, b.zeros(b.g())});
  b.give(0, b.op(Op::select, {b.op(Op::less, {zero, b.in(0)}), b.g(), below}));
}
void gradient_exp(Backward& b) { b.give(0, b.op(Op::mul, {b.g(), b.out()})); }
void gradient_log(Backward& b) { b.give(0, b.op(Op::div, {b.g(), b.in(0)})); }
void gradient_sqrt(Backward& b) { b.give(0, b.op(Op::div, {b.g(), b.op(Op::add, {b.out(), b.out()})})); }
void gradient_tanh(Backward& b) {
  b.give(0, b.op(Op::sub, {b.g(), b.op(Op::mul, {b.g(), b.op(Op::mul, {b.out(), b.out()})})}));
}
void gradient_select(Backward& b) {
  b.none(0);
  const ValueId zeros = b.zeros(b.g());
  if (b.wants(1)) b.give(1, b.op(Op::select, {b.in(0), b.g(), zeros}));
  if (b.wants(2)) b.give(2, b.op(Op::select, {b.in(0), zeros, b.g()}));
}

void gradient_reshape(Backward& b) {
  const std::vector<Dim>& dims = b.type(b.in(0)).dims;
  b.give(0, b.op(Op::reshape, {b.g()}, {{"rows", dims[0].n}, {"cols", dims[1].n}}));
}
void gradient_transpose(Backward& b) { b.give(0, b.op(Op::transpose, {b.g()})); }
void gradient_slice(Backward& b) {
  const int64_t width = b.type(b.in(0)).dims[1].n;
  b.give(0,
         b.op(Op::pad, {b.g()}, {{"before", b.node().integer("begin")}, {"after", width - b.node().integer("end")}}));
}
void gradient_pad(Backward& b) {
  const int64_t begin = b.node().integer("before");
  b.give(0, b.op(Op::slice, {b.g()}, {{"begin", begin}, {"end", begin + b.type(b.in(0)).dims[1].n}}));
}
void gradient_concat(Backward& b) {
  const int64_t left = b.type(b.in(0)).dims[1].n, all = b.type(b.g()).dims[1].n;
  if (b.wants(0)) b.give(0, b.op(Op::slice, {b.g()}, {{"begin", int64_t(0)}, {"end", left}}));
  if (b.wants(1)) b.give(1, b.op(Op::slice, {b.g()}, {{"begin", left}, {"end", all}}));
}

void gradient_sum(Backward& b) { b.give(0, b.op(Op::expand, {b.g(), b.in(0)})); }
/// Shared by the places that hold the maximum.
void gradient_reduce_max(Backward& b) {
  const ValueId held = b.op(Op::sub, {b.number(1), b.op(Op::less, {b.in(0), b.out()})});
  b.give(0, b.op(Op::mul, {held, b.op(Op::div, {b.g(), b.op(Op::sum, {held})})}));
}
void gradient_expand(Backward& b) {
  b.none(1);
  if (b.wants(0)) b.give(0, b.summed(b.g(), 0));
}
void gradient_sum_to(Backward& b) {
  b.none(1);
  if (b.wants(0)) b.give(0, b.op(Op::expand, {b.g(), b.in(0)}));
}
void gradient_matmul(Backward& b) {
  if (b.wants(0)) b.give(0, b.op(Op::matmul, {b.g(), b.op(Op::transpose, {b.in(1)})}));
  if (b.wants(1)) b.give(1, b.op(Op::matmul, {b.op(Op::transpose, {b.in(0)}), b.g()}));
}
/// Straight through (Bengio et al. 2013, arXiv:1308.3432): rounding moves a value, and its slope is taken for 1.
void gradient_cast(Backward& b) { b.give(0, b.g()); }
/// Back by the same order, the other way.
void gradient_permute_columns(Backward& b) {
  b.none(1);
  if (b.wants(0))
    b.give(0, b.op(Op::permute_columns, {b.g(), b.in(1)}, {{"inverse", int64_t(b.node().integer("inverse") == 0)}}));
}
void gradient_gather(Backward& b) { b.give(1, b.op(Op::scatter, {b.in(0), b.g(), b.in(1)})); }
void gradient_scatter(Backward& b) {
  b.none(2);
  if (b.wants(1)) b.give(1, b.op(Op::gather, {b.in(0), b.g()}));
}

// Composites.

void gradient_embed(Backward& b) {
  ValueId g = b.g();
  if (const double by = b.node().number("scale", 1); by != 1) g = b.op(Op::scale, {g}, {{"by", by}});
  b.give(1, b.op(Op::scatter, {b.in(0), g, b.in(1)}));
}
void gradient_rms_norm(Backward& b) {
  if (b.wants(0)) b.give(0, b.op(Op::rms_norm_dx, {b.in(0), b.in(1), b.g()}, b.attrs()));
  if (b.wants(1)) b.give(1, b.op(Op::rms_norm_dw, {b.in(0), b.in(1), b.g()}, b.attrs()));
}
void gradient_layer_norm(Backward& b) {
  if (b.wants(0)) b.give(0, b.op(Op::layer_norm_dx, {b.in(0), b.in(1), b.g()}, b.attrs()));
  if (b.wants(1)) b.give(1, b.op(Op::layer_norm_dw, {b.in(0), b.in(1), b.g()}, b.attrs()));
  if (b.wants(2)) b.give(2, b.summed(b.g(), 2));
}
void gradient_activation(Backward& b) { b.give(0, b.op(Op::activation_dx, {b.in(0), b.g()}, b.attrs())); }
void gradient_gated(Backward& b) {
  const Attrs kind = {{"kind", std::string(b.node().text("gate"))}};
  if (b.wants(0)) b.give(0, b.op(Op::activation_dx, {b.in(0), b.op(Op::mul, {b.g(), b.in(1)})}, kind));
  if (b.wants(1)) b.give(1, b.op(Op::mul, {b.g(), b.op(Op::activation, {b.in(0)}, kind)}));
}
void gradient_scale(Backward& b) { b.give(0, b.op(Op::scale, {b.g()}, b.attrs())); }
void gradient_linear(Backward& b) {
  if (b.wants(0)) b.give(0, b.op(Op::linear_dx, {b.g(), b.in(1)}));
  if (b.wants(1)) b.give(1, b.op(Op::linear_dw, {b.g(), b.in(0)}));
}
/// A rotation's transpose turns the other way.
void gradient_rope(Backward& b) {
  Attrs attrs;
  for (const auto& attr : b.node().attrs)
    if (attr.first != "inverse") attrs.push_back(attr);
  attrs.emplace_back("inverse", int64_t(b.node().integer("inverse") == 0));
  if (b.wants(0)) b.give(0, b.op(Op::rope, {b.g(), b.in(1)}, std::move(attrs)));
}
void gradient_self_attention(Backward& b) {
  const ValueId dq =
      b.op(Op::self_attention_dx, {b.in(0), b.in(1), b.in(2), b.in(3), b.out(0), b.out(1), b.g()}, b.attrs());
  for (size_t i = 0; i < 3; ++i)
    if (b.wants(i)) b.give(i, dq + ValueId(i));
}
/// Towards what the chosen experts are weighed by, not towards the choice.
void gradient_moe_route(Backward& b) {
  const ValueId logits = b.op(Op::linear, {b.in(0), b.in(1)});
  const ValueId d = b.op(Op::moe_route_dx, {logits, b.out(), b.g()}, b.attrs());
  if (b.wants(0)) b.give(0, b.op(Op::linear_dx, {d, b.in(1)}));
  if (b.wants(1)) b.give(1, b.op(Op::linear_dw, {d, b.in(0)}));
}
void gradient_moe_gated(Backward& b) {
  b.none(1);  // it reads the choice alone
  const std::vector<ValueId> in = {b.in(0), b.in(1), b.in(2), b.in(3), b.g()};
  if (b.wants(0)) b.give(0, b.op(Op::moe_gated_dx, in, b.attrs()));
  if (!b.wants(2) && !b.wants(3)) return;
  const ValueId dw = b.op(Op::moe_gated_dw, in, b.attrs());
  if (b.wants(2)) b.give(2, dw);
  if (b.wants(3)) b.give(3, dw + 1);
}
void gradient_moe_down(Backward& b) {
  const std::vector<ValueId> in = {b.in(0), b.in(1), b.in(2), b.g()};
  if (b.wants(0) || b.wants(1)) {
    const ValueId dx = b.op(Op::moe_down_dx, in, b.attrs());
    if (b.wants(0)) b.give(0, dx);
    if (b.wants(1)) b.give(1, dx + 1);
  }
  if (b.wants(2)) b.give(2, b.op(Op::moe_down_dw, in, b.attrs()));
}
void gradient_cross_entropy(Backward& b) {
  std::vector<ValueId> in = {b.in(0), b.in(1), b.in(2), b.in(3), b.out(1), b.g()};
  const bool bias = b.in().size() > 4;
  if (bias) in.push_back(b.in(4));
  if (b.wants(0)) b.give(0, b.op(Op::cross_entropy_dx, in, b.attrs()));
  if (!b.wants(1) && !(bias && b.wants(4))) return;
  const ValueId dw = b.op(Op::cross_entropy_dw, in, b.attrs());
  if (b.wants(1)) b.give(1, dw);
  if (bias && b.wants(4)) b.give(4, dw + 1);
}

// The table: a row that says `rule` names its function here, the others none.
#define VIBEE_rule(op) gradient_##op
#define VIBEE_parts(op) nullptr
#define VIBEE_stops(op) nullptr
#define VIBEE_refused(op) nullptr
#define VIBEE_GRADIENT(op, kind, why) constexpr Gradient kGradient_##op = {GradientKind::kind, why, VIBEE_##kind(op)};
#include "vibee/graph/autodiff/gradients.inc"
#undef VIBEE_GRADIENT
#undef VIBEE_rule
#undef VIBEE_parts
#undef VIBEE_stops
#undef VIBEE_refused
constexpr Gradient kGradients[] = {
#define VIBEE_OP(name, level, fewest, most, outputs) kGradient_##name,
#include "vibee/graph/ir/ops.inc"
#undef VIBEE_OP
};

}  // namespace

const Gradient& gradient_of(Op op) { return kGradients[size_t(op)]; }

}  // namespace vibee
