// SPDX-License-Identifier: Apache-2.0
// The dynamic loss scale as a state machine, beside its rules written down once more.
#include "vibee/train/precision/loss_scaling.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"
#include "vibee/train/precision/precision.h"

namespace vibee {
namespace {

TEST(LossScaling, FollowsItsRules) {
  for (const uint32_t hysteresis : {1u, 2u}) {
    LossScaling options;
    options.kind = LossScaling::Kind::dynamic;
    options.window = 5;
    options.hysteresis = hysteresis;
    LossScaler scaler(options);
    RandomStream random(1, Purpose::test);
    double scale = 65536;
    int good = 0, left = int(hysteresis);
    double least = scale, most = scale;
    for (int t = 0; t < 10000; ++t) {
      ASSERT_EQ(scaler.scale(), scale) << t;
      const bool overflow = random.below(1000) < (t / 500 % 2 == 0 ? 30u : 400u);
      scaler.step(!overflow);
      if (overflow) {
        good = 0;
        if (--left <= 0) scale = scale / 2 < 1 ? 1 : scale / 2;
      } else if (++good == 5) {
        good = 0, left = int(hysteresis);
        if (scale < (1 << 24)) scale *= 2;
      }
      least = std::min(least, scale), most = std::max(most, scale);
    }
    EXPECT_EQ(least, 1);
    EXPECT_EQ(most, 1 << 24);
  }
}

TEST(LossScaling, GivesUpWhereItCannotHelp) {
  LossScaling options;
  options.kind = LossScaling::Kind::dynamic;
  LossScaler dynamic(options);
  for (uint32_t t = 0; t < 16 + LossScaler::kMostOverflows; ++t) {
    EXPECT_FALSE(dynamic.exhausted()) << t;
    dynamic.step(false);
  }
  EXPECT_TRUE(dynamic.exhausted());
  dynamic.step(true);
  EXPECT_FALSE(dynamic.exhausted());
  options.kind = LossScaling::Kind::fixed;
  options.scale = 1024;
  LossScaler fixed(options);
  for (uint32_t t = 0; t < LossScaler::kMostOverflows; ++t) fixed.step(false);
  EXPECT_TRUE(fixed.exhausted());
  EXPECT_EQ(fixed.scale(), 1024);
  EXPECT_EQ(LossScaler().scale(), 1);
}

TEST(LossScaling, IsReadFromText) {
  LossScaling s;
  ASSERT_TRUE(parse_loss_scale("dynamic", &s).ok());
  EXPECT_EQ(s.kind, LossScaling::Kind::dynamic);
  ASSERT_TRUE(parse_loss_scale("1024", &s).ok());
  EXPECT_EQ(s.kind, LossScaling::Kind::fixed);
  EXPECT_EQ(s.scale, 1024);
  ASSERT_TRUE(parse_loss_scale("none", &s).ok());
  for (const char* bad : {"", "0", "-4", "nan", "inf", "1e400", "12x", "static"})
    EXPECT_FALSE(parse_loss_scale(bad, &s).ok()) << bad;
}

TEST(Precision, RefusesWhatDoesNotGoTogether) {
  const auto refusal = [](auto change) {
    Precision p;
    change(p);
    return std::string(check(p).message());
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  EXPECT_EQ(refusal([](Precision&) {}), "");
  has(refusal([](Precision& p) { p.master = Master::split; }), "weights are f32 here");
  has(refusal([](Precision& p) { p.weights = Format::f16, p.master = Master::split; }),
      "split masters need bf16: fp16 is not the upper half of fp32");
  has(refusal([](Precision& p) { p.update = Bf16Sum::kahan; }),
      "kahan compensates bf16 weights; weights are fp32 here");
  has(refusal([](Precision& p) { p.weights = Format::bf16, p.update = Bf16Sum::random; }), "without a master");
  has(refusal([](Precision& p) { p.gradient_sums = Bf16Sum::kahan; }), "sums in bf16; they are f32 here");
  has(refusal([](Precision& p) { p.weights = Format::q4_0; }), "f32, bf16 and f16 are built");
}

}  // namespace
}  // namespace vibee
