// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts around their products: choices and weighted sums by the CPU's bytes (graph/exec/moe_calls.cc),
// work lists by what they promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "vibee/base/math/exp2.h"
#include "vibee/kernels/pointwise/pointwise.h"
#include "vibee/kernels/pointwise/route_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

/// route_rows of the CPU.
TrialArray<float> route_of(const TrialArray<float>& logits, uint32_t rows, uint32_t experts, uint32_t k,
                           bool normalise) {
  const PointwiseKernels& cpu = pointwise(Isa::scalar);
  TrialArray<float> route(uint64_t(rows) * 2 * k);
  for (uint32_t r = 0; r < rows; ++r) {
    std::vector<float> mine(&logits[uint64_t(r) * experts], &logits[uint64_t(r) * experts] + experts);
    float* const ids = &route[uint64_t(r) * 2 * k];
    float* const weights = ids + k;
    const float top = cpu.max(mine.data(), experts), all = cpu.sum_exp(mine.data(), experts, top);
    float sum = 0;
    for (uint32_t j = 0; j < k; ++j) {
      const uint32_t best = cpu.argmax(mine.data(), experts);
      ids[j] = float(best);
      weights[j] = exp_fixed(mine[best] - top);
      sum += weights[j];
      mine[best] = -INFINITY;
    }
    for (uint32_t j = 0; j < k; ++j) weights[j] /= normalise ? sum : all;
  }
  return route;
}

struct Mixture {
  uint32_t rows, experts, chosen;
};

TEST(RouteBlock, ChoicesHaveTheCpusBytes) {
  for (const Mixture& m :
       {Mixture{1, 1, 1}, {3, 8, 2}, {5, 15, 15}, {4, 16, 4}, {9, 33, 6}, {2, 128, 8}, {3, 257, 8}, {0, 8, 2}})
    for (const uint32_t normalise : {0u, 1u})
      for (const bool ties : {false, true}) {
        auto logits = normals<float>(uint64_t(m.rows) * m.experts, m.experts, 4);
        for (uint64_t i = 0; i < logits.size() && ties; ++i) logits[i] = std::nearbyint(logits[i] / 4);
        if (ties && m.rows > 2 && m.experts > 2) logits[1] = NAN, logits[m.experts] = -INFINITY;
        TrialArray<float> route(uint64_t(m.rows) * 2 * m.chosen);
        const Status status = run_kernel("vibee_route_rows", route_rows_launch(m.rows, m.experts),
                                         RouteArgs{logits.data(), route.data(), m.rows, m.experts, m.chosen, normalise},
                                         {logits.memory()}, {route.memory()});
        ASSERT_TRUE(status.ok()) << status.message();
        const auto want = route_of(logits, m.rows, m.experts, m.chosen, normalise);
        for (uint64_t i = 0; i < route.size(); ++i)  // a NaN has any payload
          ASSERT_TRUE(std::memcmp(&route[i], &want[i], 4) == 0 || (route[i] != route[i] && want[i] != want[i]))
              << m.experts << " experts, " << i << ": " << route[i] << ", not " << want[i];
      }
}

TEST(RouteBlock, ListsHavePairsByExpertAndTilesOfThem) {
  for (const Mixture& m : {Mixture{1, 8, 2}, {7, 4, 1}, {37, 16, 4}, {70, 40, 6}, {600, 3, 2}, {0, 8, 2}})
    for (const uint32_t tile_rows : {1u, 16u, 64u}) {
      const auto logits = normals<float>(uint64_t(m.rows) * m.experts, m.rows, 2);
      const auto route = route_of(logits, m.rows, m.experts, m.chosen, true);
      const uint32_t count = m.rows * m.chosen, most = route_tiles(count, m.experts, tile_rows);
      TrialArray<uint32_t> starts(m.experts + 1), pairs(count), tiles(3 * uint64_t(most));
      const RouteListArgs args{route.data(), starts.data(), pairs.data(), tiles.data(), m.rows,
                               m.experts,    m.chosen,      tile_rows,    most};
      Status status = run_kernel("vibee_route_pairs", route_pairs_launch(m.rows, m.experts, m.chosen), args,
                                 {route.memory()}, {starts.memory(), pairs.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      status = run_kernel("vibee_route_tiles", route_tiles_launch(), args, {starts.memory()}, {tiles.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      uint32_t at = 0, tile = 0;
      for (uint32_t e = 0; e < m.experts; ++e) {
        ASSERT_EQ(starts[e], at);
        for (uint32_t p = 0; p < count; ++p)
          if (route[uint64_t(p / m.chosen) * 2 * m.chosen + p % m.chosen] == float(e)) {
            ASSERT_LT(at, count);
            ASSERT_EQ(pairs[at++], p);
          }
        for (uint32_t begin = starts[e]; begin < at; begin += tile_rows, ++tile) {
          ASSERT_LT(tile, most);
          EXPECT_EQ(tiles[tile * 3], e);
          EXPECT_EQ(tiles[tile * 3 + 1], begin);
          EXPECT_EQ(tiles[tile * 3 + 2], std::min(tile_rows, at - begin));
        }
      }
      EXPECT_EQ(at, count);
      EXPECT_EQ(starts[m.experts], count);
      for (; tile < most; ++tile) EXPECT_EQ(tiles[tile * 3 + 2], 0u);
    }
}

TEST(RouteBlock, AListHasRoomForWhateverIsChosen) {
  for (uint32_t experts = 1; experts < 5; ++experts)
    for (uint32_t tile_rows = 1; tile_rows < 5; ++tile_rows)
      for (uint32_t n = 0; n < 4 * 4 * 4 * 4; ++n) {  // none to six pairs of each of four experts
        uint32_t pairs = 0, tiles = 0;
        for (uint32_t e = 0, left = n; e < experts; ++e, left /= 4) {
          const uint32_t mine = left % 4 * 2;
          pairs += mine;
          tiles += (mine + tile_rows - 1) / tile_rows;
        }
        ASSERT_LE(tiles, route_tiles(pairs, experts, tile_rows));
      }
}

template <class T>
void expect_combined(const Mixture& m, uint32_t n) {
  const auto route = route_of(normals<float>(uint64_t(m.rows) * m.experts, n), m.rows, m.experts, m.chosen, true);
  const auto y = normals<T>(uint64_t(m.rows) * m.chosen * n, 3);
  TrialArray<float> out(uint64_t(m.rows) * n), want(uint64_t(m.rows) * n);
  for (uint32_t r = 0; r < m.rows; ++r)
    for (uint32_t e = 0; e < m.experts; ++e)
      for (uint32_t j = 0; j < m.chosen; ++j) {
        if (route[uint64_t(r) * 2 * m.chosen + j] != float(e)) continue;
        const float weight = route[(uint64_t(r) * 2 + 1) * m.chosen + j];
        for (uint32_t i = 0; i < n; ++i) {
          const float product = weight * float(TrialType<T>::value(y[(uint64_t(r) * m.chosen + j) * n + i]));
          want[uint64_t(r) * n + i] += product;
        }
      }
  const Status status = run_kernel(fmt::format("vibee_combine_experts_{}", TrialType<T>::name),
                                   combine_experts_launch(m.rows, n, m.chosen),
                                   CombineExpertsArgs{y.data(), route.data(), out.data(), n, m.chosen},
                                   {y.memory(), route.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(out, want)) << n;
}

TEST(RouteBlock, WeightedSumsHaveTheCpusBytes) {
  for (const uint32_t n : {1u, 31u, 64u, 300u}) {
    expect_combined<float>({3, 8, 2}, n);
    expect_combined<Bf16>({2, 40, 33}, n);
    expect_combined<Half>({1, 1, 1}, n);
  }
}

}  // namespace
}  // namespace vibee
