// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

Status check_gradient_checkpointing_v2(CheckContext& context) {
  context.not_built("levels chosen value by value: min-cut of a layer, budgets that are met exactly, two-level sqrt");
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
      if (level.level != Recompute::none)
        context.at_most(name + ": arena", double(memory.arena), double(before) - 1, "bytes", "below the level before");
      before = memory.arena;
    }
  }
  return {};
}

}  // namespace vibee
