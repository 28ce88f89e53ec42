// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/exl2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/compress/quantize/exl2_pack.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/kit/correlated_inputs.h"

namespace vibee {
namespace {

constexpr uint32_t kInputs = 160, kOutputs = 100;

class Exl2 : public testing::Test {
 protected:
  Exl2()
      : random_(3, Purpose::test),
        hessian_(correlated_hessian(kInputs, random_)),
        weights_(uint64_t(kOutputs) * kInputs) {
    for (float& w : weights_) w = 0.05f * random_.normal();
  }
  Exl2Matrix quantized(std::vector<Exl2Part> parts, uint32_t threads = 2) const {
    Team team(threads);
    auto inputs = exl2_inputs(hessian_, kInputs, team, detected_isa());
    VIBEE_CHECK(inputs.ok(), "{}", inputs.status().message());
    return exl2_quantize(*inputs, weights_, exl2_groups({std::move(parts)}, kInputs), team, detected_isa());
  }
  double loss(const Exl2Matrix& m) const {
    std::vector<float> d = m.values();
    for (size_t i = 0; i < d.size(); ++i) d[i] -= weights_[i];
    return hessian_loss(d, hessian_, kInputs);
  }
  RandomStream random_;
  std::vector<float> hessian_, weights_;
};

TEST_F(Exl2, GroupsCoverTheInputsAndBitsAreThoseOfTheParts) {
  for (const Exl2Option& option : exl2_options())
    for (const uint32_t k : {32u, 64u, 96u, 160u, 576u, 1536u, 14336u}) {
      const std::vector<Exl2Group> groups = exl2_groups(option, k);
      uint32_t at = 0, row = 0;
      for (const Exl2Group& g : groups) {
        EXPECT_EQ(g.first, at) << option.name();
        EXPECT_EQ(g.row, row) << option.name();
        EXPECT_GT(g.end, g.first);
        at = g.end;
        row += (g.end - g.first) * g.bits / 32;
      }
      EXPECT_EQ(at, k) << option.name();
      uint64_t bytes = 0;
      for (const HfPart& part : exl2_parts(groups, 100, k)) bytes += part.bytes;
      EXPECT_EQ(8 * bytes, exl2_bits(groups, 100, k)) << option.name();
      auto found = find_exl2_option(option.name());
      ASSERT_TRUE(found.ok());
      EXPECT_EQ(exl2_groups(**found, k), groups);
    }
  // A tenth of 1280 inputs at 4 bits is one group, nine at 3 follow.
  const std::vector<Exl2Group> groups = exl2_groups({{{4, 0.1, 128}, {3, 0.9, 128}}}, 1280);
  ASSERT_EQ(groups.size(), 10u);
  EXPECT_EQ(groups[1], (Exl2Group{3, 128, 256, 16}));
  EXPECT_FALSE(find_exl2_option("1:7b_128g s4").ok());
  EXPECT_FALSE(exl2_head(7).ok());
}

TEST_F(Exl2, SortsInputsByWhatTheySumTo) {
  const Exl2Matrix m = quantized({{4, 1, 32}});
  for (uint32_t i = 1; i < kInputs; ++i)
    EXPECT_GE(hessian_[uint64_t(m.order[i - 1]) * (kInputs + 1)], hessian_[uint64_t(m.order[i]) * (kInputs + 1)]);
}

TEST_F(Exl2, LosesLessWithMoreBitsAndWhatItSays) {
  double before = 1e30;
  for (const auto& parts : {std::vector<Exl2Part>{{2, 1, 64}},
                            {{3, 0.25, 64}, {2, 0.75, 64}},
                            {{3, 1, 64}},
                            {{4, 0.25, 64}, {3, 0.75, 64}},
                            {{4, 1, 64}},
                            {{5, 1, 64}},
                            {{6, 1, 64}},
                            {{8, 1, 64}}}) {
    const Exl2Matrix m = quantized(parts);
    EXPECT_LT(m.loss, before);
    // Its own sum has the damping in it, so it is above that of H alone.
    EXPECT_LT(loss(m), m.loss);
    before = m.loss;
  }
}

TEST_F(Exl2, MakesUpForErrors) {
  // The same scales, every weight to its nearest value.
  const Exl2Matrix m = quantized({{4, 0.25, 32}, {3, 0.75, 64}});
  std::vector<float> d(weights_.size());
  for (size_t g = 0; g < m.groups.size(); ++g)
    for (uint32_t r = 0; r < m.n; ++r)
      for (uint32_t j = m.groups[g].first; j < m.groups[g].end; ++j) {
        const float half = float(1 << (m.groups[g].bits - 1)), s = m.scale(g, r);
        const uint64_t at = uint64_t(r) * kInputs + m.order[j];
        d[at] = std::clamp(std::nearbyint(weights_[at] / s), -half, half - 1) * s - weights_[at];
      }
  EXPECT_LT(loss(m), 0.75 * hessian_loss(d, hessian_, kInputs));
}

TEST_F(Exl2, HasTheSameBytesWhateverTheThreads) {
  const Exl2Matrix a = quantized({{5, 0.1, 32}, {3, 0.9, 64}}, 1), b = quantized({{5, 0.1, 32}, {3, 0.9, 64}}, 2);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.most, b.most);
}

TEST_F(Exl2, KeepsInputsThatAreNeverThereAtZero) {
  for (uint32_t i = 0; i < kInputs; ++i) hessian_[uint64_t(i) * kInputs + 7] = hessian_[7ull * kInputs + i] = 0;
  const Exl2Matrix m = quantized({{3, 1, 64}});
  const std::vector<float> values = m.values();
  for (uint32_t r = 0; r < kOutputs; ++r) EXPECT_EQ(values[uint64_t(r) * kInputs + 7], 0.0f);
}

TEST_F(Exl2, TakesWeightsOfZeroAndTinyOnes) {
  std::fill(weights_.begin(), weights_.end(), 0.0f);
  for (const float v : quantized({{2, 1, 64}}).values()) EXPECT_EQ(v, 0.0f);
  for (float& w : weights_) w = 1e-30f;
  for (const float v : quantized({{2, 1, 64}}).values()) EXPECT_LT(std::fabs(v), 1e-6f);
}

TEST_F(Exl2, PadsOutputsWithCodesOfZero) {
  const Exl2Matrix m = quantized({{5, 0.2, 32}, {3, 0.8, 64}});
  const auto bytes = exl2_pack(m, [](uint64_t r) { return r; });
  // Output 101 of 128: 5 bits of 16 in the first group, whose first word holds 6 of them and the start of one.
  EXPECT_EQ(load_u32(&bytes[0][4 * 101]) & 0x3fffffff, 0x21084210u);
  EXPECT_EQ(load_u16(&bytes[3][0]), 5);
  EXPECT_EQ(load_u16(&bytes[3][6]), 5);  // packed row of the second group
}

}  // namespace
}  // namespace vibee
