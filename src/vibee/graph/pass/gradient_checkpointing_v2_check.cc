// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

Status check_gradient_checkpointing_v2(CheckContext& context) {
  context.not_built("levels chosen value by value: the min-cut of a layer");
  context.not_built("goldens of PyTorch's selective checkpoints");
  if (context.describe_only()) return {};

  for (const char* architecture : {"llama", "gpt2"}) {
    TrialTraining trial;
    trial.model.architecture = architecture;
    trial.model.layers = 3;
    if (trial.model.architecture == "llama") trial.model.kv_heads = 1;
    trial.steps = 5;
    trial.length = 128;
    std::vector<uint8_t> kept;
    uint64_t before = UINT64_MAX;
    for (const RecomputeName& level : recompute_levels()) {
      trial.options.recompute = level.level;
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
      if (kept.empty()) kept = run.state;
      const std::string name = fmt::format("{}, {}", architecture, level.name);
      context.equal(name + ": weights and moments of 5 steps equal to those of none", run.state == kept, 1);
      VIBEE_ASSIGN(const TrainStep::Memory memory, trial.memory());
      if (level.level != Recompute::none && level.level != Recompute::sqrt)
        context.at_most(name + ": arena", double(memory.arena), double(before) - 1, "bytes", "below the level before");
      before = memory.arena;
    }
    // Budgets between full and none: met to the byte by what the plan takes, with the same bytes learnt.
    trial.options.recompute = Recompute::none;
    VIBEE_ASSIGN(const TrainStep::Memory none, trial.memory());
    trial.options.recompute = Recompute::full;
    VIBEE_ASSIGN(const TrainStep::Memory full, trial.memory());
    trial.options.recompute = Recompute::none;
    for (const uint64_t quarter : {1, 2, 3}) {
      const uint64_t budget = full.sum() + (none.sum() - full.sum()) * quarter / 4;
      VIBEE_ASSIGN(trial.options.recompute_layers, trial.levels_within(budget));
      VIBEE_ASSIGN(const TrainStep::Memory taken, trial.memory());
      const std::string name = fmt::format("{}, a budget at {}/4 between full and none", architecture, quarter);
      context.at_most(name + ": bytes", double(taken.sum()), double(budget), "bytes");
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
      context.equal(name + ": weights and moments equal to those of none", run.state == kept, 1);
    }
    trial.options.recompute_layers.clear();
  }
  return {};
}

}  // namespace vibee
