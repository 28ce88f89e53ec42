// SPDX-License-Identifier: Apache-2.0
// Products of rows by the experts that they chose: an element has the bytes of the plain product's, whatever rows its
// tile has; sums and a gated unit against double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "vibee/kernels/gemm/grouped_shape.h"
#include "vibee/kernels/pointwise/route_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

using testing::HasSubstr;

template <class T>
constexpr GemmOperand kOperand = std::is_same_v<T, float>  ? GemmOperand::f32
                                 : std::is_same_v<T, Bf16> ? GemmOperand::bf16
                                                           : GemmOperand::f16;
template <class T>
constexpr GemmOutput kOutput = std::is_same_v<T, float>  ? GemmOutput::f32
                               : std::is_same_v<T, Bf16> ? GemmOutput::bf16
                                                         : GemmOutput::f16;

struct GroupedTrial {
  uint32_t rows = 0, experts = 1, chosen = 1, n = 0, k = 0;
  bool per_pair = false;  // A has a row a pair
  uint32_t slack = 0, lead = 0;
  bool gated = false, bias = false;
};

/// Experts of rows, skewed so that expert 0 has most and some have none; none twice in a row.
TrialArray<float> routes(const GroupedTrial& t) {
  RandomStream random(7, Purpose::test, t.rows);
  TrialArray<float> route(uint64_t(t.rows) * 2 * t.chosen);
  for (uint32_t r = 0; r < t.rows; ++r) {
    const uint32_t first = random.below(3) ? 0 : random.below(t.experts);
    for (uint32_t j = 0; j < t.chosen; ++j) {
      route[uint64_t(r) * 2 * t.chosen + j] = float((first + j) % t.experts);
      route[(uint64_t(r) * 2 + 1) * t.chosen + j] = 1;
    }
  }
  return route;
}

template <class A, class B, class Out>
void expect_grouped(const GroupedTrial& t) {
  const uint32_t pairs = t.rows * t.chosen, rows_a = t.per_pair ? pairs : t.rows, share = t.per_pair ? 1 : t.chosen;
  const uint64_t ld_a = t.k + t.slack, ld_b = t.k + t.slack, ld_d = t.n + t.slack;
  const auto route = routes(t);
  auto a = normals<A>(rows_a * ld_a, 1, 1, t.lead);
  auto w = normals<B>(t.experts * t.n * ld_b, 2, 1, t.lead);
  const auto multiply = normals<Out>(pairs * ld_d, 3, 1, t.lead);
  const auto bias = normals<float>(uint64_t(t.experts) * t.n, 4, 1, t.lead);
  TrialArray<Out> d(pairs * ld_d, t.lead), alone(ld_d, t.lead);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (uint64_t i = 0; i < a.size(); ++i)
    if (i % ld_a >= t.k) a[i] = TrialType<A>::from(nan);
  for (uint64_t i = 0; i < w.size(); ++i)
    if (i % ld_b >= t.k) w[i] = TrialType<B>::from(nan);
  for (uint64_t i = 0; i < d.size(); ++i) d[i] = TrialType<Out>::from(77);

  const Result<GroupedShape> shape = grouped_shape({kOperand<A>, kOperand<B>, pairs, t.n, t.k, t.experts});
  ASSERT_TRUE(shape.ok()) << shape.status().message();
  const uint32_t tile_rows = std::max(shape->tile_rows, 1u), most = route_tiles(pairs, t.experts, tile_rows);
  TrialArray<uint32_t> starts(t.experts + 1), list(pairs), tiles(3 * uint64_t(most));
  if (shape->tile_rows > 0) {
    const RouteListArgs lists{route.data(), starts.data(), list.data(), tiles.data(), t.rows,
                              t.experts,    t.chosen,      tile_rows,   most};
    Status status = run_kernel("vibee_route_pairs", route_pairs_launch(t.rows, t.experts, t.chosen), lists,
                               {route.memory()}, {starts.memory(), list.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    status = run_kernel("vibee_route_tiles", route_tiles_launch(), lists, {starts.memory()}, {tiles.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
  }
  GroupedArgs args;
  args.gemm.a = a.data(), args.gemm.b = w.data(), args.gemm.d = d.data();
  args.gemm.ld_a = ld_a, args.gemm.ld_b = ld_b, args.gemm.ld_d = ld_d, args.gemm.stride_b = t.n * ld_b;
  args.gemm.m = pairs, args.gemm.n = t.n, args.gemm.k = t.k, args.gemm.output = kOutput<Out>;
  if (t.gated) args.gemm.activation = GemmActivation::silu, args.gemm.multiply = multiply.data();
  if (t.bias) args.gemm.bias = bias.data(), args.gemm.stride_bias = t.n;
  args.share = share, args.chosen = t.chosen, args.route = route.data();
  args.tiles = tiles.data(), args.pairs = list.data();
  Status status = run_kernel(
      shape->kernel, shape->launch, args,
      {a.memory(), w.memory(), route.memory(), tiles.memory(), list.memory(), multiply.memory(), bias.memory()},
      {d.memory()});
  ASSERT_TRUE(status.ok()) << shape->kernel << ": " << status.message();

  for (uint32_t p = 0; p < pairs; ++p) {
    const auto expert = uint32_t(route[uint64_t(p / t.chosen) * 2 * t.chosen + p % t.chosen]);
    for (uint32_t j = 0; j < t.n; ++j) {
      double s = 0, magnitude = 0;
      for (uint32_t i = 0; i < t.k; ++i) {
        const double product = TrialType<A>::value(a[uint64_t(p / share) * ld_a + i]) *
                               TrialType<B>::value(w[(uint64_t(expert) * t.n + j) * ld_b + i]);
        s += product, magnitude += std::fabs(product);
      }
      double error = t.k * kUnit * magnitude;  // a rounding of each partial sum
      if (t.bias) s += bias[uint64_t(expert) * t.n + j], error += kUnit * (std::fabs(s) + error);
      if (t.gated) {  // as in gemm_block_test.cc
        error = 1.13 * error + (8 + 6 * s * s) * kUnit * std::fabs(s);
        const double by = TrialType<Out>::value(multiply[p * ld_d + j]);
        s = s / (1 + std::exp(-s)) * by;
        error = error * std::fabs(by) + kUnit * std::fabs(s);
      }
      ASSERT_NEAR(TrialType<Out>::value(d[p * ld_d + j]), s, 1.1 * error + rounding<Out>(s) + kLeastNormal)
          << shape->kernel << " pair " << p << " column " << j;
    }
    for (uint64_t j = t.n; j < ld_d; ++j) ASSERT_EQ(TrialType<Out>::value(d[p * ld_d + j]), 77) << p;
  }

  // A pair alone, as a plain product by its expert's weights.
  for (uint32_t p = 0; p < pairs && shape->tile_rows > 0; p += 1 + pairs / 3) {
    const auto expert = uint32_t(route[uint64_t(p / t.chosen) * 2 * t.chosen + p % t.chosen]);
    GemmArgs plain = args.gemm;
    plain.a = &a[uint64_t(p / share) * ld_a], plain.b = &w[uint64_t(expert) * t.n * ld_b], plain.d = alone.data();
    if (t.gated) plain.multiply = &multiply[p * ld_d];
    if (t.bias) plain.bias = &bias[uint64_t(expert) * t.n];
    plain.stride_b = plain.stride_bias = 0, plain.m = 1;
    const uint32_t side = shape->tile_rows;
    LaunchShape launch = shape->launch;
    launch.grid = {shape->launch.grid[1], 1, 1};
    status = run_kernel(fmt::format("vibee_gemm_{}_{}_nt", TrialType<A>::name, side), launch, plain,
                        {a.memory(), w.memory(), multiply.memory(), bias.memory()}, {alone.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(0, std::memcmp(alone.data(), &d[p * ld_d], t.n * sizeof(Out))) << shape->kernel << " pair " << p;
  }
}

template <class T>
void expect_tiles() {
  expect_grouped<T, T, float>({.rows = 40, .experts = 3, .chosen = 2, .n = 70, .k = 40});
  expect_grouped<T, T, T>({.rows = 70, .experts = 5, .chosen = 1, .n = 8, .k = 72, .slack = 8, .gated = true});
  expect_grouped<T, T, float>(
      {.rows = 23, .experts = 4, .chosen = 3, .n = 33, .k = 17, .per_pair = true, .slack = 3, .lead = 1, .bias = true});
  expect_grouped<T, T, float>({.rows = 66, .experts = 2, .chosen = 1, .n = 5, .k = 0});
}
TEST(GroupedBlock, TilesOfFloats) {
  expect_tiles<float>();
  expect_grouped<float, float, float>({.rows = 1, .experts = 8, .chosen = 2, .n = 20, .k = 33});
}
TEST(GroupedBlock, TilesOfBf16) { expect_tiles<Bf16>(); }
TEST(GroupedBlock, TilesOfF16) {
  expect_tiles<Half>();
  expect_grouped<Half, Half, float>({.rows = 2, .experts = 8, .chosen = 2, .n = 20, .k = 40});
}
TEST(GroupedBlock, LargeTiles) {
  expect_grouped<Bf16, Bf16, Bf16>({.rows = 135, .experts = 2, .chosen = 2, .n = 132, .k = 41, .gated = true});
  expect_grouped<Bf16, Bf16, float>({.rows = 260, .experts = 2, .chosen = 1, .n = 24, .k = 72, .slack = 1});
}
TEST(GroupedBlock, FewPairsStreamTheirWeights) {
  for (const uint32_t k : {0u, 1u, 72u, 520u}) {
    const GroupedTrial t{.rows = 3, .experts = 8, .chosen = 2, .n = 19, .k = k};
    expect_grouped<float, Bf16, float>(t);
    expect_grouped<Bf16, Bf16, Bf16>(t);
    expect_grouped<Bf16, Bf16, float>({.rows = 2,
                                       .experts = 4,
                                       .chosen = 4,
                                       .n = 16,
                                       .k = k,
                                       .per_pair = true,
                                       .slack = 8,
                                       .gated = true,
                                       .bias = true});
    expect_grouped<float, Bf16, Half>(
        {.rows = 1, .experts = 1, .chosen = 1, .n = 9, .k = k, .per_pair = true, .slack = 3, .lead = 1, .bias = true});
  }
}

TEST(GroupedShape, ChoosesByTypeAndSize) {
  const auto expect = [](const GroupedSizes& sizes, const char* kernel, std::array<uint32_t, 3> grid,
                         uint32_t tile_rows) {
    const Result<GroupedShape> shape = grouped_shape(sizes);
    ASSERT_TRUE(shape.ok()) << shape.status().message();
    EXPECT_EQ(shape->kernel, kernel);
    EXPECT_NE(find_host_kernel(kernel), nullptr) << kernel;
    EXPECT_EQ(shape->launch.grid, grid) << kernel;
    EXPECT_EQ(shape->tile_rows, tile_rows) << kernel;
  };
  const auto f32 = GemmOperand::f32, bf16 = GemmOperand::bf16, f16 = GemmOperand::f16;
  expect({bf16, bf16, 8, 14336, 4096, 8}, "vibee_grouped_gemv_bf16_bf16", {1792, 1, 8}, 0);
  expect({f32, bf16, 64, 14337, 4096, 8}, "vibee_grouped_gemv_bf16_f32", {1793, 1, 64}, 0);
  expect({bf16, bf16, 0, 16, 16, 8}, "vibee_grouped_gemv_bf16_bf16", {0, 1, 1}, 0);
  expect({bf16, bf16, 65, 4096, 4096, 8}, "vibee_grouped_gemm_bf16_64", {9, 64, 1}, 64);
  expect({f16, f16, 8, 4096, 4096, 128}, "vibee_grouped_gemm_f16_64", {8, 64, 1}, 64);
  expect({bf16, bf16, 1024, 4096, 4096, 8}, "vibee_grouped_gemm_bf16_128", {16, 32, 1}, 128);
  expect({f16, f16, 1024, 4096, 4096, 8}, "vibee_grouped_gemm_f16_64", {24, 64, 1}, 64);
  expect({f32, f32, 0, 4096, 4096, 8}, "vibee_grouped_gemm_f32_64", {0, 64, 1}, 64);
}

TEST(GroupedShape, SaysWhatHasNoKernel) {
  const auto refusal = [](const GroupedSizes& sizes) { return grouped_shape(sizes).status().message(); };
  const auto f32 = GemmOperand::f32, bf16 = GemmOperand::bf16, s8 = GemmOperand::s8;
  EXPECT_THAT(refusal({f32, bf16, 65, 8, 8, 2}), HasSubstr("65 rows of f32 by experts of bf16"));
  EXPECT_THAT(refusal({s8, s8, 65, 8, 8, 2}), HasSubstr("65 rows of s8 by experts of s8"));
  EXPECT_THAT(refusal({f32, f32, 65, 64 * 65535 + 1, 8, 2}), HasSubstr("at most 4194240 columns"));
  EXPECT_THAT(refusal({f32, f32, 65, 8, 8, 0}), HasSubstr("0 experts"));
  EXPECT_THAT(refusal({f32, f32, 0x80000000, 8, 8, 1}), HasSubstr("2147483648 pairs"));
}

}  // namespace
}  // namespace vibee
