// SPDX-License-Identifier: Apache-2.0
// ldmatrix and mma.sync of the shim: fragments as a small product of matrices against double, by the addresses that
// kernels use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/core/device/probe_launch.h"
#include "vibee/kit/block_shim.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

/// The kernel against double; `transposed`: b lies as [8][k].
template <class T, class Sum>
void expect_product(const char* kernel, uint32_t k, bool transposed, T (*draw)(RandomStream&), double (*value)(T)) {
  RandomStream random(12, Purpose::test, k);
  TrialArray<T> a(16 * k), b(8 * k);
  for (uint32_t i = 0; i < 16 * k; ++i) a[i] = draw(random);
  for (uint32_t i = 0; i < 8 * k; ++i) b[i] = draw(random);
  TrialArray<Sum> c(16 * 8);
  const Status status = run_kernel(kernel, probe_product_launch(), ProbeProductArgs{a.data(), b.data(), c.data(), k},
                                   {a.memory(), b.memory()}, {c.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t r = 0; r < 16; ++r)
    for (uint32_t j = 0; j < 8; ++j) {
      double sum = 0, magnitude = 0;
      for (uint32_t i = 0; i < k; ++i) {
        const double product = value(a[r * k + i]) * value(b[transposed ? j * k + i : i * 8 + j]);
        sum += product;
        magnitude += std::fabs(product);
      }
      // k roundings of partial sums, each of at most a unit of the magnitude; whole numbers have none.
      EXPECT_NEAR(double(c[r * 8 + j]), sum, std::is_integral_v<Sum> ? 0 : k * kUnit * magnitude) << r << " " << j;
    }
}
Bf16 draw_bf16(RandomStream& r) { return {float_to_bf16(r.normal())}; }
Half draw_half(RandomStream& r) { return {float_to_half(r.normal())}; }
int8_t draw_int8(RandomStream& r) { return int8_t(r.below(256)); }

TEST(WarpProduct, Bf16) {
  for (const uint32_t k : {16u, 48u, 256u}) {
    expect_product<Bf16, float>("vibee_probe_product_bf16", k, false, draw_bf16, TrialType<Bf16>::value);
    expect_product<Bf16, float>("vibee_probe_product_bf16_t", k, true, draw_bf16, TrialType<Bf16>::value);
  }
}
TEST(WarpProduct, Half) {
  for (const uint32_t k : {16u, 48u, 256u}) {
    expect_product<Half, float>("vibee_probe_product_f16", k, false, draw_half, TrialType<Half>::value);
    expect_product<Half, float>("vibee_probe_product_f16_t", k, true, draw_half, TrialType<Half>::value);
  }
}
TEST(WarpProduct, Int8) {
  for (const uint32_t k : {32u, 96u, 512u})
    expect_product<int8_t, int32_t>("vibee_probe_product_s8_t", k, true, draw_int8, [](int8_t v) { return double(v); });
}

TEST(WarpProduct, ExchangesOfAProbe) {
  constexpr uint32_t kBlocks = 3, kThreads = kBlocks * 128;
  TrialArray<uint32_t> out(kThreads * 5), counters(3);
  TrialArray<float> sums(1);
  const Status status = run_kernel("vibee_probe_exchange", probe_exchange_launch(kBlocks),
                                   ProbeExchangeArgs{out.data(), counters.data(), sums.data()}, {},
                                   {out.memory(), counters.memory(), sums.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t t = 0; t < kThreads; ++t) {
    const uint32_t lane = t % 32, want[] = {9, lane ^ 5, lane < 28 ? lane + 4 : lane, 0x49249249u, 127 * 128 / 2};
    for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(out[t * 5 + i], want[i]) << t << " " << i;
  }
  EXPECT_EQ(counters[0], kThreads);
  EXPECT_EQ(counters[1], 127u);
  EXPECT_EQ(counters[2], 1u);
  EXPECT_EQ(sums[0], kThreads * 0.25f);
}

TEST(WarpProduct, SumsWrapAndGoOverAscendingDepth) {
  uint32_t a[32][4], b[32][2], d[32][4];
  for (uint32_t l = 0; l < 32; ++l) {
    for (uint32_t& v : a[l]) v = 0x80808080;
    for (uint32_t& v : b[l]) v = 0x80808080;
    for (uint32_t& v : d[l]) v = 0x7fffffff;
  }
  multiply_warp(WarpProduct::s8, a, b, d);
  EXPECT_EQ(d[5][2], 0x7fffffffu + 32 * 128 * 128);
  // 1, then 2^24 in the first of two elements: behind it a one is lost, before it not.
  for (uint32_t l = 0; l < 32; ++l) {
    for (uint32_t& v : a[l]) v = 0x3f803f80;  // ones
    for (uint32_t& v : b[l]) v = 0;
    for (uint32_t& v : d[l]) v = std::bit_cast<uint32_t>(1.0f);
  }
  const auto set = [&](uint32_t k, float v) {  // of b's column 0
    uint32_t& word = b[k % 8 / 2][k / 8];
    const uint32_t bits = float_to_bf16(v);
    word = k % 2 ? (word & 0xffff) | bits << 16 : (word & 0xffff0000) | bits;
  };
  set(3, 0x1p24f);
  set(4, 1.0f);
  set(12, 1.0f);
  multiply_warp(WarpProduct::bf16, a, b, d);
  EXPECT_EQ(std::bit_cast<float>(d[0][0]), 0x1p24f);  // 1 + 2^24 rounds to even, and twice more
}

TEST(WarpProduct, PlacesAreThoseOfPtx) {
  // The formulas of the PTX ISA, in its own terms.
  for (uint32_t l = 0; l < 32; ++l) {
    const uint32_t group = l >> 2, in_group = l % 4;
    for (uint32_t i = 0; i < 8; ++i) {  // m16n8k16, 16 bits
      EXPECT_EQ(a_place(l, i, 2).row, i < 2 || (i >= 4 && i < 6) ? group : group + 8);
      EXPECT_EQ(a_place(l, i, 2).column, in_group * 2 + (i & 1) + (i < 4 ? 0 : 8));
    }
    for (uint32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(b_place(l, i, 2).row, in_group * 2 + (i & 1) + (i < 2 ? 0 : 8));
      EXPECT_EQ(b_place(l, i, 2).column, group);
      EXPECT_EQ(sum_place(l, i).row, i < 2 ? group : group + 8);
      EXPECT_EQ(sum_place(l, i).column, in_group * 2 + (i & 1));
    }
    for (uint32_t i = 0; i < 16; ++i) {  // m16n8k32, 8 bits
      EXPECT_EQ(a_place(l, i, 4).row, i < 4 || (i >= 8 && i < 12) ? group : group + 8);
      EXPECT_EQ(a_place(l, i, 4).column, in_group * 4 + (i & 3) + (i < 8 ? 0 : 16));
    }
    for (uint32_t i = 0; i < 8; ++i) {
      EXPECT_EQ(b_place(l, i, 4).row, in_group * 4 + (i & 3) + (i < 4 ? 0 : 16));
      EXPECT_EQ(b_place(l, i, 4).column, group);
    }
  }
}

TEST(WarpProduct, PlacesCoverTheirMatrices) {
  for (const uint32_t each : {2u, 4u}) {
    std::set<std::pair<uint32_t, uint32_t>> a, b, sums;
    for (uint32_t l = 0; l < 32; ++l) {
      for (uint32_t i = 0; i < 4 * each; ++i) a.insert({a_place(l, i, each).row, a_place(l, i, each).column});
      for (uint32_t i = 0; i < 2 * each; ++i) b.insert({b_place(l, i, each).row, b_place(l, i, each).column});
      for (uint32_t i = 0; i < 4; ++i) sums.insert({sum_place(l, i).row, sum_place(l, i).column});
    }
    EXPECT_EQ(a.size(), 16 * 8 * each);
    EXPECT_EQ(*a.rbegin(), std::make_pair(15u, 8 * each - 1));
    EXPECT_EQ(b.size(), 8 * 8 * each);
    EXPECT_EQ(*b.rbegin(), std::make_pair(8 * each - 1, 7u));
    EXPECT_EQ(sums.size(), 128u);
  }
}

TEST(WarpProduct, MatricesComePlainAndTransposed) {
  std::vector<uint32_t> out(32 * 14);
  const ShimMemory memory[] = {{out.data(), out.size() * 4}};
  ShimLaunch launch;
  launch.block = {32, 1, 1};
  launch.memory = memory;
  const Status status = run_shim({"matrices", 32, 1024}, launch, [&](ShimBlock& b) {
    const auto s = shared_array<uint16_t>(b, 32 * 8);
    for (uint32_t j = 0; j < 8; ++j) b.store(s, b.lane() * 8 + j, uint16_t(b.lane() * 8 + j));
    b.sync_warp();
    uint32_t r1[1], r2[2], r4[4], t1[1], t2[2], t4[4];
    // Lanes behind the named rows may hold anything.
    b.load_matrices(r1, s, b.lane() < 8 ? b.lane() * 8 : 12345);
    b.load_matrices(r2, s, b.lane() < 16 ? b.lane() * 8 : 12345);
    b.load_matrices(r4, s, b.lane() * 8);
    b.load_matrices_transposed(t1, s, b.lane() < 8 ? b.lane() * 8 : 12345);
    b.load_matrices_transposed(t2, s, b.lane() < 16 ? b.lane() * 8 : 12345);
    b.load_matrices_transposed(t4, s, b.lane() * 8);
    const uint32_t all[] = {r1[0], r2[0], r2[1], r4[0], r4[1], r4[2], r4[3],
                            t1[0], t2[0], t2[1], t4[0], t4[1], t4[2], t4[3]};
    for (uint32_t i = 0; i < 14; ++i) b.store(out.data(), b.lane() * 14 + i, all[i]);
  });
  ASSERT_TRUE(status.ok()) << status.message();
  const uint32_t matrix[] = {0, 0, 1, 0, 1, 2, 3};
  for (uint32_t l = 0; l < 32; ++l)
    for (uint32_t i = 0; i < 7; ++i) {
      const uint32_t plain = matrix[i] * 64 + l * 2;  // rows one behind the other
      EXPECT_EQ(out[l * 14 + i], plain | (plain + 1) << 16);
      const uint32_t turned = matrix[i] * 64 + l % 4 * 2 * 8 + l / 4;
      EXPECT_EQ(out[l * 14 + 7 + i], turned | (turned + 8) << 16);
    }
}

TEST(WarpProduct, FindsWhatMatricesReadTooEarly) {
  ShimLaunch launch;
  launch.block = {32, 1, 1};
  const auto program = [](ShimBlock& b) {
    const auto s = shared_array<uint16_t>(b, 64);
    if (b.lane() < 8) b.store16(s, b.lane() * 8, Vector16<uint16_t>{});  // no sync_warp behind it
    uint32_t r[1];
    b.load_matrices(r, s, b.lane() % 8 * 8);
  };
  EXPECT_THAT(run_shim({"matrices", 32, 1024}, launch, program).message(),
              testing::AllOf(testing::HasSubstr("reads shared byte"), testing::HasSubstr("which thread 0 writes at")));
}

}  // namespace
}  // namespace vibee
