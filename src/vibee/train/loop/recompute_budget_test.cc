// SPDX-License-Identifier: Apache-2.0
// Budgets of recomputation: never a byte above, near the best of all levels of the layers, the bytes of none; and the
// two-level form that keeps the input of every sqrt(layers)-th layer alone.
#include "vibee/train/loop/recompute_budget.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "vibee/kit/trial_graph.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

struct Trial {
  TrialTraining training;
  Checkpoint file;
  ModelConfig config;
  TrainStepOptions options;
  static Trial of(const std::string& architecture, uint32_t layers) {
    TrialTraining t;
    t.model.architecture = architecture;
    t.model.layers = layers;
    t.rows = 8;
    t.length = 64;
    auto file = new_checkpoint(t.model, {});
    EXPECT_TRUE(file.ok());
    auto config = read_config(*file);
    EXPECT_TRUE(config.ok());
    TrainStepOptions o = t.options;
    o.max_rows = t.rows * t.length;
    return {t, std::move(*file), *config, o};
  }
  uint64_t bytes(const std::vector<Recompute>& levels) const {
    TrainStepOptions o = options;
    o.recompute_layers = levels;
    const auto memory = TrainStep::memory(file, config, o);
    EXPECT_TRUE(memory.ok());
    return memory->sum();
  }
  double work(const std::vector<Recompute>& levels) const {
    TrainStepOptions o = options;
    o.recompute_layers = levels;
    const auto work = recomputed_work(file, config, o, training.length);
    EXPECT_TRUE(work.ok());
    return *work;
  }
};

TEST(RecomputeBudget, IsNeverExceededAndNearTheBestOfAll) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const Trial t = Trial::of(architecture, 3);
    constexpr Recompute kAll[] = {Recompute::none, Recompute::cheap, Recompute::proj, Recompute::full};
    struct Way {
      uint64_t bytes;
      double work;
    };
    std::vector<Way> ways;
    for (const Recompute a : kAll)
      for (const Recompute b : kAll)
        for (const Recompute c : kAll) ways.push_back({t.bytes({a, b, c}), t.work({a, b, c})});
    const uint64_t most = ways.front().bytes, least = ways.back().bytes;
    ASSERT_LT(least, most);
    for (uint32_t tenth = 0; tenth <= 10; ++tenth) {
      const uint64_t budget = least + (most - least) * tenth / 10;
      const auto levels = levels_within(t.file, t.config, t.options, t.training.length, budget);
      ASSERT_TRUE(levels.ok()) << levels.status().message();
      EXPECT_LE(t.bytes(*levels), budget) << architecture << " " << tenth;
      double best = ways.back().work;
      for (const Way& way : ways)
        if (way.bytes <= budget) best = std::min(best, way.work);
      EXPECT_LE(t.work(*levels), 1.25 * best + 1e-9) << architecture << " " << tenth;
      if (tenth == 10) {
        EXPECT_EQ(*levels, std::vector<Recompute>(3, Recompute::none));
      }
    }
    const auto none = levels_within(t.file, t.config, t.options, t.training.length, least - 1);
    EXPECT_EQ(none.status().code(), Code::no_memory);
    EXPECT_NE(none.status().message().find(std::to_string(least)), std::string::npos) << none.status().message();
  }
}

TEST(RecomputeBudget, KeepsTheBytesOfNone) {
  TrialTraining t = Trial::of("llama", 3).training;
  t.model.kv_heads = 1;
  const auto none = t.run(0);
  ASSERT_TRUE(none.ok());
  t.options.recompute_layers = {Recompute::full, Recompute::none, Recompute::cheap};
  const auto mixed = t.run(0);
  ASSERT_TRUE(mixed.ok());
  EXPECT_EQ(mixed->state, none->state);
}

TEST(RecomputeSqrt, KeepsEverySoManythInputAlone) {
  TrialGraphOptions o;
  o.model.dim = 64;
  o.model.heads = 2;
  o.model.layers = 9;
  o.model.vocab = 96;
  o.model.context = 128;
  o.rows = 32;  // what is kept is more than the gradients
  o.length = 64;
  for (const char* architecture : {"llama", "gpt2"}) {
    o.model.architecture = architecture;
    o.recompute = Recompute::full;
    auto full = TrialGraph::create(o);
    ASSERT_TRUE(full.ok()) << full.status().message();
    o.recompute = Recompute::sqrt;
    auto few = TrialGraph::create(o);
    ASSERT_TRUE(few.ok());
    ASSERT_TRUE((*full)->step().ok() && (*few)->step().ok());
    EXPECT_EQ((*full)->gradients(), (*few)->gradients()) << architecture;
    EXPECT_LT((*few)->arena(), (*full)->arena()) << architecture;
    // Inputs of layers 0, 3 and 6, the last sum, and what is no sum; of full, two sums a layer.
    const uint64_t row = uint64_t(o.rows) * o.length * o.model.dim * 4;
    EXPECT_LE((*few)->kept().sum() + 14 * row, (*full)->kept().sum()) << architecture;
    // Two forward passes more, of which one is full's.
    const auto again = [](const Graph& g, Op op) {
      return std::count_if(g.nodes.begin(), g.nodes.end(),
                           [&](const Node& n) { return n.op == op && n.text("phase") == "R"; });
    };
    const auto attends = again((*few)->graph(), Op::self_attention);
    EXPECT_EQ(again((*full)->graph(), Op::self_attention), 9) << architecture;
    EXPECT_EQ(attends, 9 + 6) << architecture;
  }
}

}  // namespace
}  // namespace vibee
