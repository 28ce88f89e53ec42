// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/atom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/atom_scale.h"
#include "vibee/kit/correlated_inputs.h"

namespace vibee {
namespace {

constexpr uint32_t kInputs = 160, kOutputs = 101, kGroup = 32;

class Atom : public testing::Test {
 protected:
  Atom()
      : random_(3, Purpose::test),
        hessian_(correlated_hessian(kInputs, random_)),
        weights_(uint64_t(kOutputs) * kInputs) {
    for (float& w : weights_) w = 0.05f * random_.normal();
  }
  AtomMatrix quantized(uint32_t threads, bool identity = false) const {
    Team team(threads);
    std::vector<float> h = hessian_;
    for (uint32_t i = 0; identity && i < kInputs; ++i)
      for (uint32_t j = 0; j < kInputs; ++j) h[uint64_t(i) * kInputs + j] = i == j ? 1.0f : 0.0f;
    const auto inputs = atom_inputs(h, kInputs, kGroup, team, detected_isa());
    VIBEE_CHECK(inputs.ok(), "{}", inputs.status().message());
    return atom_quantize(*inputs, weights_, kGroup, team, detected_isa());
  }
  double loss(const AtomMatrix& m) const {
    std::vector<float> d = m.values();
    for (size_t i = 0; i < d.size(); ++i) d[i] -= weights_[i];
    return hessian_loss(d, hessian_, kInputs);
  }
  RandomStream random_;
  std::vector<float> hessian_, weights_;
};

TEST(AtomGroup, LeavesSevenEighthsToFourBits) {
  for (const auto& [k, group] : {std::pair{4096u, 128u},
                                 {1024u, 128u},
                                 {896u, 64u},
                                 {576u, 64u},
                                 {512u, 64u},
                                 {256u, 32u},
                                 {64u, 32u},
                                 {32u, 0u},
                                 {100u, 0u}})
    EXPECT_EQ(atom_group(k), group) << k;
}

TEST_F(Atom, TheLargestInputsComeLastAndTheOthersAsTheyCame) {
  const AtomMatrix m = quantized(2);
  EXPECT_TRUE(std::is_sorted(m.order.begin(), m.order.end() - kGroup));
  const auto diagonal = [&](uint32_t i) { return hessian_[uint64_t(i) * (kInputs + 1)]; };
  float most_before = 0, least_kept = INFINITY;
  for (uint32_t j = 0; j < kInputs; ++j) {
    if (j < kInputs - kGroup) most_before = std::max(most_before, diagonal(m.order[j]));
    if (j >= kInputs - kGroup) least_kept = std::min(least_kept, diagonal(m.order[j]));
  }
  EXPECT_LE(most_before, least_kept);
}

TEST_F(Atom, NeighboursShareAScaleAndThreadsChangeNothing) {
  const AtomMatrix a = quantized(1), b = quantized(3);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  constexpr uint32_t kGroups = kInputs / kGroup;
  for (uint32_t r = 0; r + 1 < kOutputs; r += 2)
    for (uint32_t g = 0; g < kGroups; ++g) EXPECT_EQ(a.scales[r * kGroups + g], a.scales[(r + 1) * kGroups + g]);
}

/// Where inputs do not go together nothing can be made up for: codes are those of rounding.
TEST_F(Atom, OfIndependentInputsItIsRounding) {
  const AtomMatrix m = quantized(2, true);
  for (uint32_t r = 0; r < kOutputs; ++r)
    for (uint32_t j = 0; j < kInputs; ++j) {
      const bool kept = j >= kInputs - kGroup;
      const float levels = float(kept ? kAtomKeptLevels : kAtomLevels);
      const float scale = half_to_float(m.scales[r * (kInputs / kGroup) + j / kGroup]);
      const float w = weights_[uint64_t(r) * kInputs + m.order[j]];
      const float code = std::clamp(std::nearbyint(w / scale), -levels - 1, levels) + levels + 1;
      ASSERT_EQ(float(m.codes[uint64_t(r) * kInputs + j]), code) << r << " " << j;
    }
}

TEST_F(Atom, LosesLessThanRounding) {
  AtomMatrix rounded = quantized(2, true);
  // The same inputs kept: an identity keeps others, so its codes are made of this order.
  const AtomMatrix solved = quantized(2);
  rounded.order = solved.order;
  constexpr uint32_t kGroups = kInputs / kGroup;
  for (uint32_t r = 0; r < kOutputs; ++r)
    for (uint32_t g = 0; g < kGroups; ++g) {
      const bool kept = g + 1 == kGroups;
      float largest = 0;
      for (uint32_t i = r / 2 * 2; i < std::min(kOutputs, r / 2 * 2 + 2); ++i)
        for (uint32_t j = g * kGroup; j < (g + 1) * kGroup; ++j)
          largest = std::max(largest, std::fabs(weights_[uint64_t(i) * kInputs + solved.order[j]]));
      const uint16_t half = atom_scale(largest, kept);
      rounded.scales[r * kGroups + g] = half;
      const float levels = float(kept ? kAtomKeptLevels : kAtomLevels);
      for (uint32_t j = g * kGroup; j < (g + 1) * kGroup; ++j) {
        const float q = std::nearbyint(weights_[uint64_t(r) * kInputs + solved.order[j]] / half_to_float(half));
        rounded.codes[uint64_t(r) * kInputs + j] = uint8_t(std::clamp(q, -levels - 1, levels) + levels + 1);
      }
    }
  EXPECT_LT(loss(solved), 0.75 * loss(rounded));
}

TEST_F(Atom, InputsThatAreNotFiniteAreNamed) {
  hessian_[7 * (kInputs + 1)] = NAN;
  Team team(1);
  const auto inputs = atom_inputs(hessian_, kInputs, kGroup, team, detected_isa());
  ASSERT_FALSE(inputs.ok());
  EXPECT_THAT(inputs.status().message(), testing::HasSubstr("column 7"));
}

}  // namespace
}  // namespace vibee
