// SPDX-License-Identifier: Apache-2.0
// Forms of moments: every rule in every form, on every instruction set with the same bytes, cut anywhere; steps in 8
// bits beside those of bitsandbytes (tools/make_optimiser_goldens.py).
#include "vibee/kernels/update/moment_form.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kernels/update/update_rule.h"

namespace vibee {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) all.push_back(isa);
  return all;
}

/// Weights and their moments, as a step moves them.
struct Array {
  const UpdateRule& rule;
  uint32_t count, block;
  std::vector<float> w;
  std::vector<uint8_t> bytes[kMostMoments];

  Array(const Optimiser& o, size_t n, uint32_t block) : rule(info(o.rule)), count(rule.moments(o)), block(block), w(n) {
    for (uint32_t m = 0; m < count; ++m) bytes[m].resize(MomentElements::bytes(form(m), block, n));
  }
  MomentForm form(uint32_t m) const { return m == rule.squares ? MomentForm::unsigned_dynamic8 : MomentForm::dynamic8; }
  MomentElements moment(uint32_t m) { return MomentElements::at(bytes[m].data(), form(m), block, w.size()); }
  /// In pieces of so many elements.
  void move(Isa isa, const UpdateStep& step, const std::vector<float>& g, uint64_t piece) {
    std::vector<float> room[kMostMoments] = {std::vector<float>(piece), std::vector<float>(piece)};
    for (uint64_t at = 0; at < w.size(); at += piece) {
      const uint64_t n = std::min<uint64_t>(piece, w.size() - at);
      float* x[kMostMoments] = {};
      for (uint32_t m = 0; m < count; ++m) x[m] = moment(m).from(at).load(isa, n, room[m].data());
      rule.kernel(isa)(step, g.data() + at, n, w.data() + at, x);
      for (uint32_t m = 0; m < count; ++m) moment(m).from(at).store(isa, x[m], n);
    }
  }
};

TEST(MomentForm, HasTheSameBytesOnEveryInstructionSetCutAnywhere) {
  for (const RuleId id : {RuleId::adamw, RuleId::sgd, RuleId::lion})
    for (const uint32_t block : {64u, 256u, 2048u})
      for (const size_t n : {1u, 300u, 4096u, 5000u}) {
        Optimiser o;
        o.rule = id;
        Array want(o, n, block);
        std::vector<Array> got;
        for (size_t i = 0; i < isas().size(); ++i) got.emplace_back(o, n, block);
        RandomStream random(6, Purpose::test);
        for (uint64_t t = 1; t <= 4; ++t) {
          std::vector<float> g(n);
          for (size_t i = 0; i < n; ++i) g[i] = random.normal() * std::ldexp(1.0f, -int(i * 7 % 20));
          const UpdateStep step = want.rule.step(o, t, true);
          want.move(Isa::scalar, step, g, 1 << 20);
          for (size_t i = 0; i < got.size(); ++i) {
            got[i].move(isas()[i], step, g, i % 2 == 0 ? 2048 : block);
            ASSERT_EQ(0, std::memcmp(got[i].w.data(), want.w.data(), 4 * n)) << want.rule.name << " " << t;
            for (uint32_t m = 0; m < want.count; ++m)
              ASSERT_EQ(got[i].bytes[m], want.bytes[m]) << want.rule.name << " " << name(isas()[i]) << " " << n;
          }
        }
      }
}

TEST(MomentForm, SaysWhatItTakes) {
  EXPECT_EQ(MomentElements::bytes(MomentForm::f32, 256, 100), 448u);
  EXPECT_EQ(MomentElements::bytes(MomentForm::dynamic8, 256, 4096), 4096u + 64);
  EXPECT_EQ(MomentElements::bytes(MomentForm::unsigned_dynamic8, 64, 100), 128u + 64);
  for (const MomentFormInfo& form : moment_forms()) EXPECT_EQ(form.name, info(form.form).name);
}

TEST(MomentForm, KnowsScalesThatItDidNotWrite) {
  std::vector<uint8_t> bytes(MomentElements::bytes(MomentForm::dynamic8, 256, 600));
  const MomentElements m = MomentElements::at(bytes.data(), MomentForm::dynamic8, 256, 600);
  EXPECT_TRUE(m.plausible(600));
  for (const float bad : {NAN, -1.0f, INFINITY}) {
    m.scales[2] = bad;
    EXPECT_FALSE(m.plausible(600));
    EXPECT_TRUE(m.plausible(512));
  }
}

/// Whose numbers are those of tools/make_optimiser_goldens.py.
struct Golden {
  const char* name;
  Optimiser optimiser;
};
constexpr int64_t kWeights = 4096, kBlocks = kWeights / 256;

class EveryGolden : public testing::TestWithParam<Golden> {};
INSTANTIATE_TEST_SUITE_P(Rules, EveryGolden, testing::ValuesIn([] {
                           Optimiser adam, momentum, lion;
                           adam.rate = 3e-3, adam.decay = 0.1;
                           momentum.rule = RuleId::sgd, momentum.rate = 1e-2, momentum.decay = 0;
                           lion.rule = RuleId::lion, lion.rate = 1e-3, lion.beta2 = 0.99, lion.decay = 0.1;
                           return std::vector<Golden>{{"adam", adam}, {"momentum", momentum}, {"lion", lion}};
                         }()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(EveryGolden, StepsAreThoseOfBitsandbytes) {
  std::ifstream in(VIBEE_SOURCE_DIR "/data/golden/optimiser/" + std::string(GetParam().name) + ".bin",
                   std::ios::binary);
  const std::vector<uint8_t> want{std::istreambuf_iterator<char>(in), {}};
  const Optimiser& o = GetParam().optimiser;
  Array array(o, kWeights, 256);
  for (int64_t i = 0; i < kWeights; ++i) array.w[size_t(i)] = float(i * 257 % 1999 - 999) / 1024;
  ASSERT_EQ(want.size(), array.count * size_t(kWeights + 4 * kBlocks) + 4 * kWeights);
  const uint8_t* at = want.data();
  std::vector<float> g(kWeights);
  for (int64_t t = 1; t <= 100; ++t) {
    for (int64_t i = 0; i < kWeights; ++i)
      g[size_t(i)] = float(double((i * 7919 + t * 104729) % 4001 - 2000) * std::exp2(-14.0 - double((i * 31 + t) % 9)));
    array.move(detected_isa(), array.rule.step(o, uint64_t(t), true), g, 2048);
    if (t > 1) continue;
    for (uint32_t m = 0; m < array.count; ++m) {
      size_t other = 0;
      for (int64_t i = 0; i < kWeights; ++i) {
        ASSERT_LE(std::abs(int(array.bytes[m][size_t(i)]) - int(at[i])), 1);
        other += array.bytes[m][size_t(i)] != at[i];
      }
      EXPECT_LE(double(other) / kWeights, 1e-4) << "moment " << m;
      float scales[kBlocks];
      std::memcpy(scales, at + kWeights, sizeof scales);
      // 1 - beta2 is rounded as a float here, once as a double there.
      for (int64_t b = 0; b < kBlocks; ++b) EXPECT_NEAR(array.moment(m).scales[b], scales[b], 2e-6 * scales[b]);
      at += kWeights + 4 * kBlocks;
    }
  }
  std::vector<float> weights(kWeights);
  std::memcpy(weights.data(), at, 4 * kWeights);
  double error = 0, most = 0, square = 0;
  for (size_t i = 0; i < size_t(kWeights); ++i) {
    const double by = std::fabs(double(array.w[i]) - weights[i]);
    error += by * by, square += double(weights[i]) * weights[i], most = std::max(most, by);
  }
  EXPECT_LE(std::sqrt(error / square), 1e-5) << "largest " << most;
}

}  // namespace
}  // namespace vibee
