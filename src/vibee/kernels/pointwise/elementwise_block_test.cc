// SPDX-License-Identifier: Apache-2.0
// Elementwise block programs against double; bounds count the roundings of each formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/kernels/pointwise/elementwise_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

const uint64_t kSizes[] = {0, 1, 7, 8, 9, 97, 2047, 2048, 2049, 5003};

/// f in double, and how far a float result near want = f(x) may be.
struct Function {
  double (*f)(double x);
  double (*error)(double x, double want);
};

double gelu_tanh_argument(double x) { return 2 * 0.7978845608028654 * (x + 0.044715 * x * x * x); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
/// Of 0.5 erfc(-x/sqrt(2)): the argument's two roundings, as much as erfc's slope beside erfc makes of them, and its
/// own.
double normal_cdf_error(double x) {
  const double t = std::fabs(x) * 0.7071067811865476;
  return (2 * (x < 0 ? 2 * t * t + 2 : 1) + kErfcUnits) * kUnit;
}

constexpr Function kSilu = {[](double x) { return x * sigmoid(x); },
                            [](double, double want) { return (kExpUnits + 2) * kUnit * std::fabs(want); }};
constexpr Function kGeluTanh = {[](double x) { return x * sigmoid(gelu_tanh_argument(x)); },
                                [](double x, double want) {
                                  return (7 * std::fabs(gelu_tanh_argument(x)) + kExpUnits + 2) * kUnit *
                                         std::fabs(want);
                                }};
constexpr Function kGelu = {[](double x) { return 0.5 * x * std::erfc(-x * 0.7071067811865476); },
                            [](double x, double want) { return (normal_cdf_error(x) + kUnit) * std::fabs(want); }};

/// Where e^-x overflows, x over it is less than x 2^-128, and 0 for floats.
double lost(double x) { return (1 + std::fabs(x)) * kLeastNormal; }

template <int kUnits>
double relative(double, double want) {
  return kUnits * kUnit * std::fabs(want);
}

template <class In, class Out>
void expect_unary(const std::string& kernel, const Function& function, float by = 0, bool positive = false) {
  for (const uint64_t n : kSizes)
    for (const uint32_t lead : {0u, 1u}) {
      auto x = normals<In>(n, uint32_t(n), 4, lead);
      if (positive)
        for (uint64_t i = 0; i < n; ++i) x[i] = TrialType<In>::from(std::fabs(float(TrialType<In>::value(x[i]))));
      TrialArray<Out> out(n, lead);
      const Status status = run_kernel(kernel, elementwise_launch(n), UnaryArgs{x.data(), out.data(), n, by},
                                       {x.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      for (uint64_t i = 0; i < n; ++i) {
        const double v = TrialType<In>::value(x[i]), want = function.f(v);
        ASSERT_NEAR(TrialType<Out>::value(out[i]), want, 1.01 * function.error(v, want) + lost(v) + rounding<Out>(want))
            << kernel << " " << n << " " << v;
      }
    }
}
template <class F>
void for_types(F&& f) {
  f(float{});
  f(Bf16{});
  f(Half{});
}

TEST(ElementwiseBlock, Activations) {
  for_types([](auto t) {
    using T = decltype(t);
    const std::string type = TrialType<T>::name;
    expect_unary<T, T>("vibee_silu_" + type, kSilu);
    expect_unary<T, T>("vibee_gelu_tanh_" + type, kGeluTanh);
    expect_unary<T, T>("vibee_gelu_" + type, kGelu);
  });
}

TEST(ElementwiseBlock, ScaleAndSoftCap) {
  for_types([](auto t) {
    using T = decltype(t);
    const std::string type = TrialType<T>::name;
    expect_unary<T, T>(
        "vibee_scale_" + type,
        {[](double x) { return x * double(0.3f); }, [](double, double want) { return kUnit * std::fabs(want); }}, 0.3f);
    expect_unary<T, T>("vibee_soft_cap_" + type,
                       {[](double x) { return 5 * std::tanh(x / 5); },
                        [](double, double want) { return (2 + kTanhUnits) * kUnit * std::fabs(want); }},
                       5);
  });
}

TEST(ElementwiseBlock, Primitives) {
  expect_unary<float, float>("vibee_neg_f32", {[](double x) { return -x; }, relative<0>});
  expect_unary<float, float>("vibee_abs_f32", {[](double x) { return std::fabs(x); }, relative<0>});
  expect_unary<float, float>("vibee_exp_f32", {[](double x) { return std::exp(x); }, relative<int(kExpUnits)>});
  expect_unary<float, float>("vibee_log_f32", {[](double x) { return std::log(x); }, relative<int(kLogUnits)>}, 0,
                             true);
  expect_unary<float, float>("vibee_sqrt_f32", {[](double x) { return std::sqrt(x); }, relative<1>}, 0, true);
  expect_unary<float, float>("vibee_tanh_f32", {[](double x) { return std::tanh(x); }, relative<int(kTanhUnits)>});
}

TEST(ElementwiseBlock, CastsAreRoundingToNearest) {
  for_types([](auto from) {
    for_types([](auto to) {
      using In = decltype(from);
      using Out = decltype(to);
      if constexpr (!std::is_same_v<In, Out>)
        for (const uint64_t n : kSizes) {
          const auto x = normals<In>(n, uint32_t(n), 300);
          TrialArray<Out> out(n), want(n);
          for (uint64_t i = 0; i < n; ++i) want[i] = TrialType<Out>::from(float(TrialType<In>::value(x[i])));
          const auto kernel = fmt::format("vibee_cast_{}_{}", TrialType<In>::name, TrialType<Out>::name);
          const Status status = run_kernel(kernel, elementwise_launch(n), UnaryArgs{x.data(), out.data(), n, 0},
                                           {x.memory()}, {out.memory()});
          ASSERT_TRUE(status.ok()) << status.message();
          EXPECT_TRUE(same_bytes(out, want)) << kernel << " " << n;
        }
    });
  });
}

/// Rows x columns, both operands in every spread.
template <class T, class F>
void expect_binary(const char* op, F&& f) {
  for (const auto& [rows, columns] : {std::pair(1u, 1u), {3u, 5u}, {4u, 64u}, {5u, 97u}, {2u, 2056u}}) {
    const uint64_t n = uint64_t(rows) * columns;
    const OperandSpread spreads[] = {{1, n}, {1, columns}, {columns, rows}, {n, 1}};
    for (const OperandSpread& first : spreads)
      for (const OperandSpread& second : spreads)
        for (const uint32_t lead : {0u, 1u}) {
          const auto a = normals<T>(first.count, 1, 1, lead), b = normals<T>(second.count, 2, 1, lead);
          TrialArray<T> out(n, lead), want(n);
          for (uint64_t i = 0; i < n; ++i)
            want[i] = TrialType<T>::from(f(float(TrialType<T>::value(a[i / first.each % first.count])),
                                           float(TrialType<T>::value(b[i / second.each % second.count]))));
          const auto kernel = fmt::format("vibee_{}_{}", op, TrialType<T>::name);
          const Status status =
              run_kernel(kernel, elementwise_launch(n), BinaryArgs{a.data(), b.data(), out.data(), n, first, second},
                         {a.memory(), b.memory()}, {out.memory()});
          ASSERT_TRUE(status.ok()) << status.message();
          ASSERT_TRUE(same_bytes(out, want)) << kernel << " " << rows << " x " << columns;
        }
  }
}

TEST(ElementwiseBlock, BinaryOpsHaveTheBytesOfFloats) {
  const auto add = [](float a, float b) { return a + b; };
  const auto mul = [](float a, float b) { return a * b; };
  expect_binary<float>("add", add);
  expect_binary<Bf16>("add", add);
  expect_binary<Half>("add", add);
  expect_binary<float>("mul", mul);
  expect_binary<Bf16>("mul", mul);
  expect_binary<Half>("mul", mul);
  expect_binary<float>("sub", [](float a, float b) { return a - b; });
  expect_binary<float>("div", [](float a, float b) { return a / b; });
  expect_binary<float>("maximum", [](float a, float b) { return std::max(a, b); });
  expect_binary<float>("minimum", [](float a, float b) { return std::min(a, b); });
  expect_binary<float>("less", [](float a, float b) { return a < b ? 1.0f : 0.0f; });
}

template <class T>
void expect_pairs(const std::string& kernel, const Function& function) {
  for (const uint64_t n : kSizes)
    for (const uint32_t lead : {0u, 1u}) {
      const auto x = normals<T>(n, 5, 3, lead), g = normals<T>(n, 6, 1, lead);
      TrialArray<T> out(n, lead);
      const Status status = run_kernel(kernel, elementwise_launch(n), PairArgs{x.data(), g.data(), out.data(), n},
                                       {x.memory(), g.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      for (uint64_t i = 0; i < n; ++i) {
        const double v = TrialType<T>::value(x[i]), by = TrialType<T>::value(g[i]), f = function.f(v);
        const double error = std::fabs(by) * (function.error(v, f) + lost(v)) + kUnit * std::fabs(f * by);
        ASSERT_NEAR(TrialType<T>::value(out[i]), f * by, 1.01 * error + kLeastNormal + rounding<T>(f * by))
            << kernel << " " << n << " " << v;
      }
    }
}

TEST(ElementwiseBlock, GatedUnits) {
  for_types([](auto t) {
    using T = decltype(t);
    const std::string type = TrialType<T>::name;
    expect_pairs<T>("vibee_gated_silu_" + type, kSilu);
    expect_pairs<T>("vibee_gated_gelu_tanh_" + type, kGeluTanh);
    expect_pairs<T>("vibee_gated_gelu_" + type, kGelu);
  });
}

TEST(ElementwiseBlock, Slopes) {
  expect_pairs<float>("vibee_silu_dx_f32", {[](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); },
                                            [](double x, double want) {
                                              // s has four; 1 - s takes those of s and its own.
                                              const double s = sigmoid(x);
                                              return kUnit * (6 * std::fabs(want) + s * 6 * std::fabs(x));
                                            }});
  expect_pairs<float>("vibee_gelu_tanh_dx_f32",
                      {[](double x) {
                         const double s = sigmoid(gelu_tanh_argument(x));
                         return s + x * s * (1 - s) * 2 * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
                       },
                       [](double x, double want) {
                         const double v = gelu_tanh_argument(x), s = sigmoid(v);
                         const double slope = 2 * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
                         const double ds = s * ((1 - s) * std::fabs(v) * 7 + 4) * kUnit;  // error of s
                         return ds +
                                std::fabs(x) * slope * ((1 - s) * ds + s * (ds + kUnit) + 8 * kUnit * s * (1 - s)) +
                                kUnit * std::fabs(want);
                       }});
  expect_pairs<float>("vibee_gelu_dx_f32", {[](double x) {
                                              return 0.5 * std::erfc(-x * 0.7071067811865476) +
                                                     x * 0.3989422804014327 * std::exp(-0.5 * x * x);
                                            },
                                            [](double x, double want) {
                                              const double bell =
                                                  std::fabs(x) * 0.3989422804014327 * std::exp(-0.5 * x * x);
                                              return normal_cdf_error(x) * 0.5 * std::erfc(-x * 0.7071067811865476) +
                                                     bell * (x * x + kExpUnits + 3) * kUnit + kUnit * std::fabs(want);
                                            }});
}

}  // namespace
}  // namespace vibee
