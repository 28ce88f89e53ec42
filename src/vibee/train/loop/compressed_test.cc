// SPDX-License-Identifier: Apache-2.0
// Models of training whose saved activations lie in few bits: what they keep, that the loss does not change, how near
// gradients are and that they are right in expectation, and that threads, ranks and instruction sets change no byte.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/graph/exec/interpret.h"
#include "vibee/kit/trial_graph.h"
#include "vibee/kit/trial_saved_bits.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

TrialGraphOptions small(const std::string& architecture) { return small_trial_graph(architecture, 2); }
struct Outcome {
  std::vector<float> gradients;
  float loss = 0;
  uint64_t arena = 0;
  TrialGraph::Kept kept;
};
Outcome run(const TrialGraphOptions& o, uint64_t seed = 1) {
  auto t = TrialGraph::create(o);
  EXPECT_TRUE(t.ok()) << t.status().message();
  if (!t.ok()) return {};
  const auto seconds = (*t)->step({seed, Purpose::compressing, 1});
  EXPECT_TRUE(seconds.ok()) << seconds.status().message();
  return {(*t)->gradients(), (*t)->loss(), (*t)->arena(), (*t)->kept()};
}
bool same(const Outcome& a, const Outcome& b) {
  return a.gradients.size() == b.gradients.size() && a.loss == b.loss &&
         std::memcmp(a.gradients.data(), b.gradients.data(), a.gradients.size() * 4) == 0;
}

class Compressed : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, Compressed, testing::Values("llama", "gpt2", "moe"),
                         [](const auto& info) { return info.param; });

TEST_P(Compressed, KeepsTheLossAndLittleElse) {
  TrialGraphOptions o = small(GetParam());
  const Outcome whole = run(o);
  double before = 0;
  for (const uint8_t bits : {8, 4, 2, 1}) {
    o.saved.all = bits;
    const Outcome one = run(o);
    EXPECT_EQ(one.loss, whole.loss) << int(bits);
    EXPECT_LT(one.arena, whole.arena) << int(bits);
    EXPECT_LT(one.kept.compressed, 0.3 * double(whole.kept.floats)) << int(bits);
    const double far = relative_distance(one.gradients, whole.gradients);
    EXPECT_GT(far, before) << int(bits);
    EXPECT_LT(far, bits == 8 ? 0.02 : bits == 4 ? 0.3 : bits == 2 ? 1.5 : 5) << int(bits);
    before = far;
  }
}

TEST_P(Compressed, ThreadsAndInstructionSetsHaveTheSameBytes) {
  TrialGraphOptions o = small(GetParam());
  o.saved.all = 4;
  o.rows = 2;
  o.length = 24;
  for (const auto& [level, compute] : {std::pair{Recompute::none, Format::f32}, {Recompute::cheap, Format::bf16}}) {
    o.recompute = level;
    o.compute = compute;
    const Outcome one = run(o);
    EXPECT_FALSE(same(run(o, 2), one));
    o.threads = 3;
    EXPECT_TRUE(same(run(o), one)) << info(compute).name;
    o.threads = 1;
    o.isa = Isa::scalar;
    EXPECT_TRUE(same(run(o), one)) << info(compute).name;
    o.isa = detected_isa();
  }
}

/// What is computed again is not kept as well, so levels and bits save together.
TEST_P(Compressed, GoesWithRecomputation) {
  TrialGraphOptions o = small(GetParam());
  uint64_t before = UINT64_MAX;
  for (const RecomputeName& level : recompute_levels()) {
    o.recompute = level.level;
    o.saved.all = 0;
    const Outcome exact = run(o);
    o.saved.all = 4;
    const Outcome one = run(o);
    EXPECT_LT(one.kept.sum(), before) << level.name;
    EXPECT_LT(one.kept.sum(), exact.kept.sum()) << level.name;
    EXPECT_LT(relative_distance(one.gradients, exact.gradients), 0.3) << level.name;
    before = one.kept.sum();
  }
}

/// Of one product: the mean of its weight's gradient over seeds is the exact one.
TEST(CompressedGradient, OfAProductIsRightInExpectation) {
  TrialGraphOptions o = small("gpt2");
  o.model.layers = 1;
  const Outcome exact = run(o);
  auto t = TrialGraph::create(o);
  ASSERT_TRUE(t.ok());
  // Only what a product reads and nothing else does: the rows of the feed-forward block's second product.
  const std::vector<SavedValue> saved = saved_values((*t)->graph());
  o.saved.each.assign(saved.size(), 0);
  uint32_t chosen = 0;
  for (size_t i = 0; i < saved.size(); ++i)
    if ((*t)->graph().producer(saved[i].id).op == Op::activation) o.saved.each[i] = 2, ++chosen;
  ASSERT_EQ(chosen, 1u);
  t = TrialGraph::create(o);
  ASSERT_TRUE(t.ok());
  constexpr uint32_t kSeeds = 256;
  std::vector<double> sum(exact.gradients.size()), squares(exact.gradients.size());
  for (uint32_t seed = 0; seed < kSeeds; ++seed) {
    ASSERT_TRUE((*t)->step({seed, Purpose::compressing, 1}).ok());
    const auto g = (*t)->gradients();
    for (size_t i = 0; i < g.size(); ++i) {
      const double d = double(g[i]) - exact.gradients[i];
      sum[i] += d;
      squares[i] += d * d;
    }
  }
  uint32_t far = 0, changed = 0;
  for (size_t i = 0; i < sum.size(); ++i) {
    const double mean = sum[i] / kSeeds, error = std::sqrt(std::max(0.0, squares[i] / kSeeds - mean * mean) / kSeeds);
    changed += squares[i] > 0;
    far += std::fabs(mean) > 4 * error + 1e-7;
  }
  EXPECT_GT(changed, 1000u);
  EXPECT_LE(far, 1 + changed / 1000);
}

/// The interpreter gives the plan's gradients, and where nothing is rounded those of the graph without compression.
TEST(CompressedGraph, IsInterpreted) {
  const auto g = parse_graph(
      "graph g {\n  %0:f32[T,40] = input {name=\"x\"}\n  %1:bits4[T,40] = compress(%0) {bits=4, array=2}\n"
      "  %2:f32[T,40] = decompress(%1)\n  return %2\n}\n");
  ASSERT_TRUE(g.ok()) << g.status().message();
  EXPECT_EQ(print(*parse_graph(print(*g))), print(*g));
  InterpretInputs inputs;
  RandomStream random(4, Purpose::test);
  for (int i = 0; i < 3 * 40; ++i) inputs.floats["x"].push_back(random.normal());
  inputs.rounding = {7, Purpose::compressing, 2};
  const auto y = interpret(*g, inputs, {}, {3, 0});
  ASSERT_TRUE(y.ok()) << y.status().message();
  uint32_t moved = 0;
  for (int i = 0; i < 3 * 40; ++i) {
    EXPECT_NEAR((*y)[0].f[size_t(i)], inputs.floats["x"][size_t(i)], 0.6);
    moved += (*y)[0].f[size_t(i)] != inputs.floats["x"][size_t(i)];
  }
  EXPECT_GT(moved, 100u);
  InterpretInputsOf<double> exact;
  exact.floats["x"].assign(inputs.floats["x"].begin(), inputs.floats["x"].end());
  const auto z = interpret_exact(*g, exact, {}, {3, 0});
  ASSERT_TRUE(z.ok()) << z.status().message();
  EXPECT_EQ((*z)[0].f, exact.floats["x"]);
}

TEST(CompressedSteps, RanksHaveTheBytesOfOne) {
  TrialTraining trial;
  trial.options.saved.all = 4;
  trial.options.shares = 4;
  const auto one = trial.run(0);
  ASSERT_TRUE(one.ok()) << one.status().message();
  trial.options.recompute = Recompute::proj;
  const auto again = trial.run(0), two = trial.run(2);
  ASSERT_TRUE(two.ok()) << two.status().message();
  EXPECT_EQ(two->state, again->state);
  EXPECT_NE(one->state, again->state);  // what is computed again is exact
}

/// The variance of a step's gradient is what the sensitivities say, within 2x, and bits by them do less harm than the
/// same average for all.
TEST(SavedBitsByError, PredictTheGradientsVariance) {
  NewModel model = TrialTraining().model;
  model.layers = 4;
  const auto t = TrialSavedBits::create(model, detected_isa());
  ASSERT_TRUE(t.ok()) << t.status().message();
  for (const double average : {2.0, 3.0, 4.0}) {
    const auto bits = share_bits((*t)->measured(), average);
    ASSERT_TRUE(bits.ok());
    EXPECT_LE((*t)->average(*bits), average);
    EXPECT_GE((*t)->average(*bits), 0.9 * average);
    const double expected = expected_variance((*t)->measured(), *bits), found = *(*t)->variance(*bits);
    EXPECT_LT(found, 2 * expected) << average;
    EXPECT_GT(found, expected / 8) << average;  // the largest of three distances is a bound
    if (average != 3.0) {
      EXPECT_LT(found, *(*t)->variance({uint8_t(average)})) << average;
    }
  }
}

/// A number that is not finite in a saved value is told, not learnt from.
TEST(CompressedSteps, StopWhereAValueIsNotFinite) {
  TrialTraining trial;
  trial.options.saved.all = 4;
  trial.options.optimiser.rate = 1e30;  // the second step's values overflow
  const auto run = trial.run(0);
  ASSERT_TRUE(run.ok()) << run.status().message();
  EXPECT_GT(run->skipped, 0u);
}

}  // namespace
}  // namespace vibee
