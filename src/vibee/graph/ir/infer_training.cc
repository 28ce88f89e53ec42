// SPDX-License-Identifier: Apache-2.0
// Type rules of the ops that only training graphs have: attention among the step's own rows, the loss, gradients.
#include <climits>

#include "vibee/graph/ir/rule.h"
#include "vibee/kernels/gemm/operand_form.h"

namespace vibee {

/// self_attention: queries [T, heads * d], keys and values [T, kv_heads * d], documents [T] (the row at which the
/// document of each row begins) -> rows as the queries, and [T, heads] of log2 of the sum of e^score.
/// self_attention_dx: those four, both results and the gradient of the first -> gradients of queries, keys and values.
Result<std::vector<Type>> Rule::self_attention() const {
  int64_t heads, kv, d;
  if (!this->heads(&heads, &kv, &d)) return wrong("needs heads, kv_heads (a divisor of heads) and head_dim");
  if (node.integer("window") < 0 || node.integer("window") > INT32_MAX)
    return wrong("needs a window that is not negative");
  if (node.integer("causal", 1) == 0) return wrong("is built with a causal mask only");
  for (size_t i = 0; i < 3; ++i)
    if (in(i) != rows_of(kRows, (i == 0 ? heads : kv) * d))
      return wrong(fmt::format("input {} must be f32[T,{}]", i, (i == 0 ? heads : kv) * d));
  if (in(3) != Type{kI32, {kRows}}) return wrong("input 3 must be the first row of each row's document, i32[T]");
  const Type sums = rows_of(kRows, heads);
  if (node.op == Op::self_attention) return std::vector<Type>{in(0), sums};
  if (in(4) != in(0) || in(5) != sums || in(6) != in(0))
    return wrong("inputs 4 to 6 must be the results of self_attention and the gradient of the first");
  return std::vector<Type>{in(0), in(1), in(2)};
}

/// cross_entropy: rows [m, k], the head's weight [n, k], targets [m] (-1: none), a factor a row [m, 1], perhaps a bias
/// [n] -> the loss [1], the sum of factor * -log softmax(cap(rows weight^T + bias))[target], and log of the sum of
/// e^logit [m, 1] (0 in rows without a target). cross_entropy_dx: rows, weight, targets, factors, that sum, the loss's
/// gradient and the bias -> gradient of the rows. cross_entropy_dw: the same -> gradients of weight and bias.
Result<std::vector<Type>> Rule::cross_entropy() const {
  if (!f32(0, 2) || in(0).dims[1].symbol) return wrong("takes f32 rows of known width");
  const Dim rows = in(0).dims[0];
  VIBEE_ASSIGN(const int64_t n, weight(0, 1));
  if (in(2) != Type{kI32, {rows}}) return wrong("input 2 must be a target for each row, i32");
  const Type column = rows_of(rows, 1), one{kF32, {Dim{1}}}, bias{kF32, {Dim{n}}};
  if (in(3) != column) return wrong("input 3 must be a factor for each row");
  if (node.number("soft_cap") < 0) return wrong("needs a soft_cap that is not negative");
  const bool forward = node.op == Op::cross_entropy;
  const size_t at = forward ? 4 : 6;
  if (node.in.size() > at && in(at) != bias) return wrong(fmt::format("input {} must be a bias f32[{}]", at, n));
  if (forward) return std::vector<Type>{one, column};
  if (in(4) != column || in(5) != one) return wrong("inputs 4 and 5 must be the row sums and the loss's gradient");
  if (node.op == Op::cross_entropy_dx) return std::vector<Type>{in(0)};
  std::vector<Type> out = {{kF32, in(1).dims}};
  if (node.in.size() > at) out.push_back(bias);
  return out;
}

Status Rule::operand_forms() const {
  if (!node.has("a") && !node.has("b")) return {};
  for (const std::string_view key : {"a", "b"})
    if (!find_operand_form(node.text(key)))
      return wrong(fmt::format("needs both a and b, forms of operands; {} is \"{}\"", key, node.text(key)));
  return {};
}

/// rms_norm_dx, _dw: rows, weight, gradient -> that of the rows, of the weight. layer_norm_dx, _dw: the same.
/// activation_dx: input, gradient. linear_dx: gradient [m, n], weight [n, k] -> [m, k]. linear_dw: gradient [m, n],
/// rows [m, k] (which may have 16 bits) -> [n, k].
Result<std::vector<Type>> Rule::gradient() const {
  using Types = std::vector<Type>;
  VIBEE_TRY(operand_forms());
  switch (node.op) {
    case Op::linear_dx: {
      if (!f32(0, 2) || in(1).elem.kind != Elem::stored || in(1).dims.size() != 2 || in(1).dims[0].symbol ||
          in(1).dims[1].symbol || in(0).dims[1] != in(1).dims[0])
        return wrong("takes an f32 gradient [m, n] and a weight [n, k]");
      return Types{rows_of(in(0).dims[0], in(1).dims[1].n)};
    }
    case Op::linear_dw:
      if (!f32(0, 2) || !floats(1, 2) || in(0).dims[0] != in(1).dims[0] || in(0).dims[1].symbol || in(1).dims[1].symbol)
        return wrong("takes an f32 gradient [m, n] and rows [m, k] of floats");
      return Types{rows_of(in(0).dims[1], in(1).dims[1].n)};
    case Op::activation_dx:
      if (!floats(0, 2) || in(1) != Type{kF32, in(0).dims})
        return wrong("takes a matrix of floats and an f32 gradient of its shape");
      if (!activation("kind")) return wrong("needs kind=\"silu\", \"gelu\" or \"gelu_tanh\"");
      return Types{in(1)};
    default: break;
  }
  if (!f32(0, 2) || !f32(1, 1) || in(2) != in(0)) return wrong("takes f32 rows, a weight [n] and a gradient");
  const Dim n = in(1).dims[0], width = in(0).dims[1];
  if (n.symbol || width.symbol || width.n % n.n != 0) return wrong("rows must be whole groups of the weight's length");
  const bool layer = node.op == Op::layer_norm_dx || node.op == Op::layer_norm_dw;
  if (layer && width != n) return wrong("rows must have the weight's length");
  return Types{in(node.op == Op::rms_norm_dx || node.op == Op::layer_norm_dx ? 0 : 1)};
}

/// moe_route_dx: logits [T, E], route [T, 2k], gradient of the route -> that of the logits. moe_gated_dx, _dw: rows,
/// route, gate, up, gradient [T, k * f] -> that of the rows; those of gate and up. moe_down_dx, _dw: rows [T, k * f],
/// route, down, gradient [T, n] -> those of the rows and the route; that of down.
Result<std::vector<Type>> Rule::moe_gradient() const {
  using Types = std::vector<Type>;
  const int64_t k = node.integer("k");
  if (k <= 0 || k > kMaxDim) return wrong("needs k > 0");
  if (!floats(0, 2) || in(0).dims[1].symbol) return wrong("takes rows of floats of known width");
  const Dim rows = in(0).dims[0];
  if (in(1) != rows_of(rows, 2 * k)) return wrong(fmt::format("input 1 must be a route [rows, {}]", 2 * k));
  const auto stack = [&](size_t i) {
    return in(i).elem.kind == Elem::stored && in(i).dims.size() == 3 && !in(i).dims[0].symbol &&
           !in(i).dims[1].symbol && !in(i).dims[2].symbol && in(i).dims[0].n >= k;
  };
  const int64_t width = in(0).dims[1].n;
  if (node.op == Op::moe_route_dx) {
    if (!f32(0, 2) || width < k || in(2) != in(1))
      return wrong("takes f32 logits of at least k experts and a route's gradient");
    return Types{{kF32, in(0).dims}};
  }
  if (!stack(2)) return wrong("input 2 must be a weight [experts, n, k]");
  const std::vector<Dim>& w = in(2).dims;
  const Type grad{kF32, w};
  if (node.op == Op::moe_gated_dx || node.op == Op::moe_gated_dw) {
    if (!stack(3) || in(3).dims != w) return wrong("weights must have one shape and at least k experts");
    if (width != w[2].n || in(4) != rows_of(rows, k * w[1].n)) return wrong("rows must have the weights' sizes");
    if (!activation("gate")) return wrong("needs gate=\"silu\", \"gelu\" or \"gelu_tanh\"");
    return node.op == Op::moe_gated_dx ? Types{{kF32, in(0).dims}} : Types{grad, grad};
  }
  if (width != k * w[2].n || in(3) != rows_of(rows, w[1].n)) return wrong("rows must have the weight's sizes");
  return node.op == Op::moe_down_dx ? Types{{kF32, in(0).dims}, in(1)} : Types{grad};
}

}  // namespace vibee
