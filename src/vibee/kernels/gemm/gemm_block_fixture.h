// SPDX-License-Identifier: Apache-2.0
// For tests of products as block programs: operands with slack that holds NaN, and D against double.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "vibee/kernels/gemm/gemm_shape.h"
#include "vibee/kit/block_trial.h"

namespace vibee {

template <class T>
constexpr GemmOperand kOperand = std::is_same_v<T, float>  ? GemmOperand::f32
                                 : std::is_same_v<T, Bf16> ? GemmOperand::bf16
                                 : std::is_same_v<T, Half> ? GemmOperand::f16
                                                           : GemmOperand::s8;
template <class T>
constexpr GemmOutput kOutput = std::is_same_v<T, float>  ? GemmOutput::f32
                               : std::is_same_v<T, Bf16> ? GemmOutput::bf16
                                                         : GemmOutput::f16;
template <class T>
double number(T v) {
  if constexpr (std::is_same_v<T, int8_t>)
    return v;
  else
    return TrialType<T>::value(v);
}
template <class T>
T draw(RandomStream& random) {
  if constexpr (std::is_same_v<T, int8_t>)
    return int8_t(random.below(256));
  else
    return TrialType<T>::from(random.normal());
}
/// What stands in the slack between rows: reading it shows.
template <class T>
T poison() {
  if constexpr (std::is_same_v<T, int8_t>)
    return 77;
  else
    return TrialType<T>::from(std::numeric_limits<float>::quiet_NaN());
}

struct GemmTrial {
  uint32_t m = 0, n = 0, k = 0;
  bool transposed_a = false, transposed_b = false;
  uint32_t slack = 0, lead = 0, batch = 1, processors = 1000000;  // of a device: many, so tiles are small
  float alpha = 1, beta = 0;
  bool in_place = false;  // C and residual are D
  bool bias = false, pre = false, multiply = false, residual = false, scales = false;
  GemmActivation activation = GemmActivation::none;
};

/// Items of stored rows x columns numbers, with slack behind each row.
template <class T>
struct Stored {
  uint32_t rows, columns, ld;
  TrialArray<T> v;
  Stored(uint32_t r, uint32_t c, const GemmTrial& t, uint32_t stream)
      : rows(r), columns(c), ld(c + t.slack), v(uint64_t(t.batch) * r * ld, t.lead) {
    RandomStream random(5, Purpose::test, stream);
    for (uint64_t i = 0; i < v.size(); ++i) v[i] = i % ld < c ? draw<T>(random) : poison<T>();
  }
  uint64_t stride() const { return uint64_t(rows) * ld; }
  double at(uint64_t item, uint32_t r, uint32_t c) const { return number(v[item * stride() + uint64_t(r) * ld + c]); }
};

inline double activated(GemmActivation activation, double x) {
  switch (activation) {
    case GemmActivation::silu: return x / (1 + std::exp(-x));
    case GemmActivation::gelu_tanh: return x / (1 + std::exp(-2 * 0.797884560802865356 * (x + 0.044715 * x * x * x)));
    case GemmActivation::gelu: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    default: return x;
  }
}

/// launch(sizes, args, memory that is read, memory that is written) runs the product and says by which kernel.
template <class A, class B, class Out, class Launch>
void expect_product(const GemmTrial& t, const Launch& launch) {
  const uint32_t m = t.m, n = t.n, k = t.k;
  const Stored<A> a(t.transposed_a ? k : m, t.transposed_a ? m : k, t, 1);
  const Stored<B> b(t.transposed_b ? n : k, t.transposed_b ? k : n, t, 2);
  const Stored<Out> multiply(m, n, t, 4);
  Stored<Out> c(m, n, t, 3), residual(m, n, t, 5), d(m, n, t, 6), pre(m, n, t, 7);
  if (t.beta == 0 && !t.in_place)
    for (uint64_t i = 0; i < c.v.size(); ++i) c.v[i] = poison<Out>();
  const auto bias = normals<float>(uint64_t(n) * t.batch, 8, 1, t.lead), row_scales = normals<float>(m, 9),
             column_scales = normals<float>(n, 10, 1, t.lead);
  if (t.in_place) c = residual = d;
  GemmArgs args;
  args.a = a.v.data(), args.b = b.v.data(), args.d = d.v.data();
  args.c = t.in_place ? d.v.data() : c.v.data();
  if (t.bias) args.bias = bias.data(), args.stride_bias = n;
  if (t.pre) args.pre = pre.v.data();
  if (t.multiply) args.multiply = multiply.v.data();
  if (t.residual) args.residual = t.in_place ? d.v.data() : residual.v.data();
  if (t.scales) args.row_scales = row_scales.data(), args.column_scales = column_scales.data();
  args.ld_a = a.ld, args.ld_b = b.ld, args.ld_d = d.ld;
  args.stride_a = a.stride(), args.stride_b = b.stride(), args.stride_d = d.stride();
  args.m = m, args.n = n, args.k = k, args.alpha = t.alpha, args.beta = t.beta;
  args.output = kOutput<Out>, args.activation = t.activation;
  const Stored<Out> before = d;
  const Result<std::string> kernel =
      launch(GemmSizes{kOperand<A>, kOperand<B>, t.transposed_a, t.transposed_b, m, n, k, t.batch, t.processors}, args,
             {a.v.memory(), b.v.memory(), c.v.memory(), bias.memory(), multiply.v.memory(), residual.v.memory(),
              row_scales.memory(), column_scales.memory()},
             {d.v.memory(), pre.v.memory()});
  ASSERT_TRUE(kernel.ok()) << kernel.status().message();
  const auto named =
      fmt::format("{} {}x{}x{} slack {} lead {} alpha {} beta {}", *kernel, m, n, k, t.slack, t.lead, t.alpha, t.beta);
  for (uint32_t item = 0; item < t.batch; ++item)
    for (uint32_t r = 0; r < m; ++r) {
      for (uint32_t j = 0; j < n; ++j) {
        double s = 0, magnitude = 0;
        for (uint32_t i = 0; i < k; ++i) {
          const double product = (t.transposed_a ? a.at(item, i, r) : a.at(item, r, i)) *
                                 (t.transposed_b ? b.at(item, j, i) : b.at(item, i, j));
          s += product, magnitude += std::fabs(product);
        }
        // A rounding of each partial sum; of whole numbers one, when they become a float.
        double error =
            (std::is_same_v<A, int8_t> ? 1 : k) * kUnit * (std::is_same_v<A, int8_t> ? std::fabs(s) : magnitude);
        const auto scale = [&](double by) { s *= by, error = error * std::fabs(by) + kUnit * std::fabs(s); };
        const auto add = [&](double v) { s += v, error += kUnit * (std::fabs(s) + error); };
        if (t.scales) scale(row_scales[r]), scale(column_scales[j]);
        scale(t.alpha);
        if (t.beta != 0) add(double(t.beta) * c.at(item, r, j));
        if (t.bias) add(bias[uint64_t(item) * n + j]);
        if (t.pre) {
          ASSERT_NEAR(pre.at(item, r, j), s, 1.1 * error + rounding<Out>(s) + kLeastNormal) << named << " pre";
        }
        if (t.activation != GemmActivation::none) {
          // Slopes are at most 1.13. Relatively, exp adds what its argument's error is absolutely: 4 roundings of
          // 2u = 1.6 (x + 0.045 x^3), erfc 2 z^2 times the two of z = x / sqrt(2); around them are at most 8.
          error = 1.13 * error + (8 + 6 * s * s) * kUnit * std::fabs(s);
          s = activated(t.activation, s);
        }
        if (t.multiply) scale(multiply.at(item, r, j));
        if (t.residual) add(residual.at(item, r, j));
        ASSERT_NEAR(d.at(item, r, j), s, 1.1 * error + rounding<Out>(s) + kLeastNormal)
            << named << " at " << item << " " << r << " " << j;
      }
      for (uint32_t j = n; j < d.ld; ++j) {  // nothing is written behind a row
        const uint64_t at = item * d.stride() + uint64_t(r) * d.ld + j;
        ASSERT_EQ(0, std::memcmp(&d.v[at], &before.v[at], sizeof(Out))) << named;
      }
    }
}

}  // namespace vibee
