// SPDX-License-Identifier: Apache-2.0
// Models of training with activations, and weights, of 16 bits: how near their gradients are to those of floats, what
// they keep, and that neither threads nor recomputation nor instruction sets change a byte.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kit/trial_graph.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

TrialGraphOptions small(const std::string& architecture) { return small_trial_graph(architecture, 3); }
struct Outcome {
  std::vector<float> gradients;
  float loss = 0;
  uint64_t arena = 0;
  TrialGraph::Kept kept;
};
Outcome run(const TrialGraphOptions& o) {
  auto t = TrialGraph::create(o);
  EXPECT_TRUE(t.ok()) << t.status().message();
  if (!t.ok()) return {};
  const auto seconds = (*t)->step();
  EXPECT_TRUE(seconds.ok()) << seconds.status().message();
  return {(*t)->gradients(), (*t)->loss(), (*t)->arena(), (*t)->kept()};
}
bool same(const Outcome& a, const Outcome& b) {
  return a.gradients.size() == b.gradients.size() && a.loss == b.loss &&
         std::memcmp(a.gradients.data(), b.gradients.data(), a.gradients.size() * 4) == 0;
}

class SixteenBits : public testing::TestWithParam<std::string> {};

TEST_P(SixteenBits, GradientsAreNearThoseOfFloats) {
  TrialGraphOptions o = small(GetParam());
  o.experts_used =
      o.experts;  // all: rows whose best experts are nearly equal might choose another one, which is no rounding
  const Outcome whole = run(o);
  EXPECT_EQ(whole.kept.sixteen, 0u);
  for (const auto& [format, allowed] : {std::pair{Format::bf16, 0x1p-7}, {Format::f16, 0x1p-10}}) {
    o.compute = format;
    const Outcome kept = run(o);
    EXPECT_LE(relative_distance(kept.gradients, whole.gradients), allowed) << info(format).name;
    EXPECT_GT(relative_distance(kept.gradients, whole.gradients), allowed / 64) << info(format).name;
    EXPECT_NEAR(kept.loss, whole.loss, allowed * whole.loss);
    EXPECT_LE(double(kept.kept.sum()), 0.62 * double(whole.kept.sum())) << info(format).name;
  }
}

TEST_P(SixteenBits, LevelsThreadsAndInstructionSetsHaveTheSameBytes) {
  for (const Format format : {Format::f32, Format::bf16, Format::f16}) {
    TrialGraphOptions o = small(GetParam());
    o.compute = format;
    const Outcome first = run(o);
    uint64_t before = first.kept.sum();
    for (const RecomputeName& level : recompute_levels()) {
      o.recompute = level.level;
      o.threads = 4 - o.threads;  // 3, then 1
      const Outcome one = run(o);
      EXPECT_TRUE(same(one, first)) << info(format).name << " " << level.name;
      EXPECT_LE(one.kept.sum(), before) << level.name;
      before = one.kept.sum();
    }
    o.isa = Isa::scalar;
    o.length = 11;
    const Outcome plain = run(o);
    o.isa = detected_isa();
    EXPECT_TRUE(same(run(o), plain)) << info(format).name;
  }
}

/// Products read matrices of 16 bits as if they had been widened before.
TEST_P(SixteenBits, WeightsOf16BitsAreTheirFloats) {
  for (const Format format : {Format::bf16, Format::f16}) {
    TrialGraphOptions o = small(GetParam());
    o.compute = Format::bf16;
    o.threads = 2;
    o.rounding = format;
    const Outcome floats = run(o);
    o.weights = format;
    EXPECT_TRUE(same(run(o), floats)) << info(format).name;
    o.experts_too = true;
    EXPECT_TRUE(same(run(o), floats)) << info(format).name;
  }
}

/// Steps of several shares and ranks, with what is kept in 16 bits and partly computed again.
TEST(SixteenBitsOfSteps, RanksHaveTheBytesOfOne) {
  TrialTraining trial;
  trial.options.precision.activations = Format::bf16;
  trial.options.shares = 4;
  const auto one = trial.run(0);
  ASSERT_TRUE(one.ok()) << one.status().message();
  trial.options.recompute = Recompute::proj;
  const auto two = trial.run(2);
  ASSERT_TRUE(two.ok()) << two.status().message();
  EXPECT_TRUE(one->state == two->state);
  trial.options.precision.activations = Format::f32;
  const auto floats = trial.run(0);
  ASSERT_TRUE(floats.ok());
  EXPECT_FALSE(floats->state == one->state);
}

INSTANTIATE_TEST_SUITE_P(Models, SixteenBits, testing::Values("llama", "gpt2", "moe"),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace vibee
