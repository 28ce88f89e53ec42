// SPDX-License-Identifier: Apache-2.0
// Block programs over rows: gather and rope by the bytes of plain loops, softmax and the table of turns against double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/base/math/trig.h"
#include "vibee/kernels/pointwise/rows_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

const uint32_t kWidths[] = {1, 2, 7, 8, 31, 64, 97, 256, 576, 2051, 4096};

template <class In, class Out>
void expect_gather() {
  for (const uint32_t n : kWidths)
    for (const uint32_t lead : {0u, 1u}) {
      constexpr uint32_t kCount = 5;
      const auto table = normals<In>(uint64_t(kCount) * n, n, 1, lead);
      TrialArray<int32_t> ids(7);
      for (uint32_t r = 0; r < 7; ++r) ids[r] = int32_t(r * 3 % kCount);
      ids[2] = -1;
      ids[5] = kCount;
      TrialArray<Out> out(7 * uint64_t(n), lead), want(7 * uint64_t(n));
      for (uint64_t i = 0; i < want.size(); ++i) {
        const int32_t id = ids[i / n];
        want[i] = TrialType<Out>::from(
            id < 0 || uint32_t(id) >= kCount ? 0.0f : float(TrialType<In>::value(table[uint64_t(id) * n + i % n])));
      }
      const auto kernel = fmt::format("vibee_gather_{}_{}", TrialType<In>::name, TrialType<Out>::name);
      const Status status =
          run_kernel(kernel, gather_launch(7, n), GatherArgs{ids.data(), table.data(), out.data(), n, kCount},
                     {ids.memory(), table.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(same_bytes(out, want)) << kernel << " " << n;
    }
}

TEST(RowsBlock, GatherTakesRowsByTheirIds) {
  expect_gather<float, float>();
  expect_gather<Bf16, Bf16>();
  expect_gather<Half, Half>();
  expect_gather<Bf16, float>();
  expect_gather<Half, float>();
}

template <class T>
void expect_softmax() {
  for (const uint32_t n : kWidths)
    for (const uint32_t lead : {0u, 1u}) {
      const uint32_t rows = 2;
      auto x = normals<T>(uint64_t(rows) * n, n, 5, lead);
      if (n > 2) x[1] = TrialType<T>::from(-INFINITY);  // a masked score
      TrialArray<T> out(uint64_t(rows) * n, lead);
      const auto kernel = fmt::format("vibee_softmax_{}", TrialType<T>::name);
      const Status status = run_kernel(kernel, softmax_launch(rows, n), SoftmaxArgs{x.data(), out.data(), n},
                                       {x.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      const uint32_t each = softmax_launch(rows, n).threads * kPiece;
      const double depth = (n + each - 1) / each * kPiece + 10;
      for (uint32_t r = 0; r < rows; ++r) {
        const auto at = [&](uint32_t i) { return TrialType<T>::value(x[uint64_t(r) * n + i]); };
        double most = -INFINITY, sum = 0, error = 0;
        for (uint32_t i = 0; i < n; ++i) most = std::max(most, at(i));
        // The difference is rounded, which e^ takes in proportion to it; then exp's own error.
        const auto units = [&](uint32_t i) { return std::isinf(at(i)) ? 0 : most - at(i) + kExpUnits; };
        for (uint32_t i = 0; i < n; ++i) {
          sum += std::exp(at(i) - most);
          error += std::exp(at(i) - most) * units(i) * kUnit;
        }
        const double of_sum = error / sum + depth * kUnit;
        for (uint32_t i = 0; i < n; ++i) {
          const double want = std::exp(at(i) - most) / sum;
          ASSERT_NEAR(TrialType<T>::value(out[uint64_t(r) * n + i]), want,
                      1.01 * want * (of_sum + (units(i) + 2) * kUnit) + kLeastNormal + rounding<T>(want))
              << kernel << " " << n;
        }
      }
    }
}

TEST(RowsBlock, SoftmaxNearDouble) {
  expect_softmax<float>();
  expect_softmax<Bf16>();
  expect_softmax<Half>();
}

TEST(RowsBlock, RopeTableNearTheCpus) {
  for (const uint32_t pairs : {1u, 31u, 32u, 64u, 129u}) {
    TrialArray<int32_t> positions(4);
    const int32_t values[] = {0, 1, 4095, 131071};
    std::copy(values, values + 4, positions.data());
    TrialArray<double> frequencies(pairs);
    for (uint32_t i = 0; i < pairs; ++i) frequencies[i] = std::pow(1e4, -double(i) / pairs);
    TrialArray<float> out(8 * uint64_t(pairs));
    const Status status = run_kernel("vibee_rope_table", rope_table_launch(4, pairs),
                                     RopeTableArgs{positions.data(), frequencies.data(), out.data(), pairs, 1.25},
                                     {positions.memory(), frequencies.memory()}, {out.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint32_t r = 0; r < 4; ++r)
      for (uint32_t i = 0; i < pairs; ++i) {
        double sine, cosine;
        sincos_fixed(values[r] * frequencies[i], &sine, &cosine);
        // 1e-12: what sincos_fixed promises.
        EXPECT_NEAR(out[r * 2 * pairs + i], 1.25 * cosine, kUnit * std::fabs(1.25 * cosine) + 2e-12);
        EXPECT_NEAR(out[r * 2 * pairs + pairs + i], 1.25 * sine, kUnit * std::fabs(1.25 * sine) + 2e-12);
      }
  }
}

struct Heads {
  uint32_t heads, head_dim, pairs;
};

template <class T>
void expect_rope(const Heads& h, bool split, float direction, uint32_t lead, bool in_place) {
  const uint32_t rows = 3, width = h.heads * h.head_dim;
  auto x = normals<T>(uint64_t(rows) * width, width, 1, lead);
  const auto table = normals<float>(uint64_t(rows) * 2 * h.pairs, 9, 1, lead);
  TrialArray<T> out(uint64_t(rows) * width, lead), want(uint64_t(rows) * width, lead);
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t head = 0; head < h.heads; ++head) {
      const uint64_t at = uint64_t(r) * width + head * h.head_dim;
      for (uint32_t i = 0; i < h.head_dim; ++i) want[at + i] = x[at + i];
      for (uint32_t i = 0; i < h.pairs; ++i) {
        const uint64_t one = at + (split ? i : 2 * i), two = split ? one + h.pairs : one + 1;
        const float c = table[r * 2 * h.pairs + i], s = direction * table[r * 2 * h.pairs + h.pairs + i];
        const float a = float(TrialType<T>::value(x[one])), b = float(TrialType<T>::value(x[two]));
        want[one] = TrialType<T>::from(a * c - b * s);
        want[two] = TrialType<T>::from(a * s + b * c);
      }
    }
  const auto kernel = fmt::format("vibee_rope_{}", TrialType<T>::name);
  RopeArgs args{x.data(), table.data(), in_place ? x.data() : out.data(), width, h.head_dim, h.pairs, split, direction};
  const Status status =
      in_place ? run_kernel(kernel, rope_launch(rows, width), args, {table.memory()}, {x.memory()})
               : run_kernel(kernel, rope_launch(rows, width), args, {x.memory(), table.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(in_place ? x : out, want))
      << kernel << " " << h.heads << " heads of " << h.head_dim << ", " << h.pairs << " pairs, split " << split;
}

TEST(RowsBlock, RopeHasTheBytesOfPlainLoops) {
  for (const Heads& h : {Heads{1, 2, 1},
                         {3, 6, 2},
                         {2, 14, 7},
                         {3, 64, 32},
                         {2, 64, 16},
                         {2, 80, 20},
                         {9, 128, 64},
                         {2, 36, 18},
                         {1, 40, 8}})
    for (const bool split : {false, true})
      for (const uint32_t lead : {0u, 1u}) {
        expect_rope<float>(h, split, 1, lead, false);
        expect_rope<float>(h, split, -1, lead, true);
        expect_rope<Bf16>(h, split, 1, lead, true);
        expect_rope<Half>(h, split, 1, lead, false);
      }
}

}  // namespace
}  // namespace vibee
