// SPDX-License-Identifier: Apache-2.0
// What operands of products are rounded to, as the numbers that their codes stand for. An operand with one scale has
// that of itself.
#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/float/fp8_e5m2.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/graph/exec/interpret.h"
#include "vibee/kernels/gemm/int8_gemm.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/gemm/quantize_row.h"
#include "vibee/kernels/gemm/round_operand.h"

namespace vibee {
namespace {

float small_float(OperandForm form, float x) {
  return form == OperandForm::e4m3 || form == OperandForm::mx_e4m3 ? E4m3::decode(E4m3::encode(x))
                                                                   : E5m2::decode(E5m2::encode(x));
}

/// x[rows][depth] becomes what its codes stand for.
void round_operand(OperandForm form, uint32_t rows, uint32_t depth, std::vector<double>* x) {
  const std::vector<float> numbers(x->begin(), x->end());
  const SmallFloat& to = info(form).to;
  const auto largest = [](const float* begin, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; ++i) most = std::max(most, std::fabs(begin[i]));
    return most;
  };
  switch (info(form).kind) {
    case OperandKind::plain: return;
    case OperandKind::nearest:
      for (size_t i = 0; i < numbers.size(); ++i) (*x)[i] = double(bf16_to_float(float_to_bf16(numbers[i])));
      return;
    case OperandKind::integer: {
      std::vector<int8_t> q(numbers.size());
      std::vector<float> s(rows);
      int8_codes_reference({numbers.data(), Format::f32, depth, false, rows, depth},
                           form == OperandForm::int8_tensor ? Int8Scale::tensor : Int8Scale::row, q.data(), s.data());
      for (size_t i = 0; i < q.size(); ++i) (*x)[i] = double(q[i]) * double(s[i / depth]);
      return;
    }
    case OperandKind::scaled: {
      const float scale = fp8_scale(largest(numbers.data(), numbers.size()), to.largest, 0);
      for (size_t i = 0; i < numbers.size(); ++i)
        (*x)[i] = double(small_float(form, numbers[i] * scale)) / double(scale);
      return;
    }
    case OperandKind::blocks: {
      for (uint32_t r = 0; r < rows; ++r)
        for (uint32_t k = 0; k < depth; k += kScaledBlock) {
          const size_t at = size_t(r) * depth + k, n = std::min(kScaledBlock, depth - k);
          const float most = largest(&numbers[at], n);
          if (most == 0) continue;
          const double scale = std::ldexp(1.0, std::clamp(std::ilogb(most) - to.most_exponent, -127, 127));
          for (size_t i = at; i < at + n; ++i) (*x)[i] = scale * small_float(form, float(numbers[i] / scale));
        }
      return;
    }
  }
}

}  // namespace

template <class T>
std::vector<TensorOf<T>> rounded_operands(const Node& node, std::span<const TensorOf<T>* const> in) {
  std::vector<TensorOf<T>> out = {*in[0], *in[1]};
  const bool across[2] = {node.op == Op::linear_dw, node.op != Op::linear};
  for (size_t i = 0; i < 2; ++i) {
    const OperandForm form = *find_operand_form(node.text(i == 0 ? "a" : "b"));
    const auto stored = size_t(in[i]->rows()), width = size_t(in[i]->width());
    const size_t rows = across[i] ? width : stored, depth = across[i] ? stored : width;
    const auto place = [&](size_t r, size_t k) { return across[i] ? k * width + r : r * width + k; };
    std::vector<double> x(rows * depth);
    for (size_t r = 0; r < rows; ++r)
      for (size_t k = 0; k < depth; ++k) x[r * depth + k] = double(in[i]->f[place(r, k)]);
    round_operand(form, uint32_t(rows), uint32_t(depth), &x);
    for (size_t r = 0; r < rows; ++r)
      for (size_t k = 0; k < depth; ++k) out[i].f[place(r, k)] = T(x[r * depth + k]);
  }
  return out;
}

template <class T>
std::vector<TensorOf<T>> stored_operands(const Node& node, std::span<const TensorOf<T>* const> in) {
  std::vector<TensorOf<T>> out = {*in[0], *in[1]};
  const NumericFormat& format = info(*parse_format(node.text("format")));
  const auto rows = uint64_t(in[1]->rows()), k = uint64_t(in[1]->width());
  std::vector<float> numbers(in[1]->f.begin(), in[1]->f.end());
  std::vector<uint8_t> bytes(rows * format.row_bytes(k));
  format.encode_rows(numbers.data(), rows, k, nullptr, bytes.data());
  format.decode_rows(bytes.data(), rows, k, numbers.data());
  std::copy(numbers.begin(), numbers.end(), out[1].f.begin());
  const ActRule rule = act_rule(format.format);
  if (node.op != Op::linear || rule == ActRule::floats) return out;
  std::vector<uint8_t> act(act_bytes(1, uint32_t(k)));
  const ActRow codes = act_row(act.data(), 1, uint32_t(k), 0);
  for (uint64_t r = 0; r < uint64_t(in[0]->rows()); ++r) {
    const auto from = in[0]->f.begin() + ptrdiff_t(r * k);
    numbers.assign(from, from + ptrdiff_t(k));
    quantize_row(pointwise(Isa::scalar), rule, numbers.data(), uint32_t(k), codes);
    for (uint32_t i = 0; i < k; ++i)
      out[0].f[r * k + i] = T(double(codes.q(i / kActBlock)[i % kActBlock]) * double(*codes.da(i / kActBlock)));
  }
  return out;
}

template std::vector<TensorOf<float>> rounded_operands(const Node&, std::span<const TensorOf<float>* const>);
template std::vector<TensorOf<double>> rounded_operands(const Node&, std::span<const TensorOf<double>* const>);
template std::vector<TensorOf<float>> stored_operands(const Node&, std::span<const TensorOf<float>* const>);
template std::vector<TensorOf<double>> stored_operands(const Node&, std::span<const TensorOf<double>* const>);

}  // namespace vibee
