// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

/// A step of 4096 tokens at every level, in turn: its time and its arena beside those of none.
Status bench_gradient_checkpointing_v2(BenchContext& context) {
  const bool quick = context.settings().quick;
  TrialTraining trial = TrialTraining::of_activations(context.settings());
  std::vector<std::vector<double>> seconds(recompute_levels().size());
  std::vector<double> arenas;
  const int rounds = quick ? 3 : 7;
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < seconds.size(); ++i) {
      if (!context.proceed("training", double(round) / rounds)) return {};
      trial.options.recompute = recompute_levels()[i].level;
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
      seconds[i].insert(seconds[i].end(), run.seconds.begin(), run.seconds.end());
      VIBEE_ASSIGN(const TrainStep::Memory memory, trial.memory());
      if (round == 0) arenas.push_back(double(memory.arena));
    }
  context.figure("step, none", 1e3 * median(seconds[0]), "ms");
  context.figure("arena, none", arenas[0] / 1e6, "MB");
  // What the paper's levels save is of activations; the arena has gradients and workspaces too.
  constexpr double kLeastSaved[] = {0, 0.2, 0.4, 0.5, 0.6}, kLeastSpeed[] = {1, 0.97, 0.77, 0.75, 0.6};
  for (size_t i = 1; i < seconds.size(); ++i) {
    const std::string name(recompute_levels()[i].name);
    const PairedRatio ratio = paired_ratio(seconds[0], seconds[i]);
    context.target("arena saved by " + name, 1 - arenas[i] / arenas[0], "", kLeastSaved[i]);
    context.target("speed of " + name + " over none", ratio.ratio, "x", kLeastSpeed[i],
                   fmt::format("{:.3f} to {:.3f} at 95 %", ratio.low, ratio.high));
  }
  // Half the memory between full and none: of what full takes longer, a share.
  const auto middle = uint64_t((arenas[0] + arenas[3]) / 2);
  trial.options.recompute = Recompute::none;
  VIBEE_ASSIGN(const TrainStep::Memory none, trial.memory());
  VIBEE_ASSIGN(trial.options.recompute_layers, trial.levels_within(none.sum() - none.arena + middle));
  const auto time_of = [&](Recompute level, bool layers) -> Result<std::vector<double>> {
    TrialTraining one = trial;
    one.options.recompute = level;
    if (!layers) one.options.recompute_layers.clear();
    VIBEE_ASSIGN(TrialTraining::Run run, one.run(0));
    return std::move(run.seconds);
  };
  std::vector<double> kept, half, again;
  for (int round = 0; round < rounds; ++round) {
    if (!context.proceed("half the memory", double(round) / rounds)) return {};
    for (const auto& [level, layers, all] : {std::tuple{Recompute::none, false, &kept},
                                             {Recompute::none, true, &half},
                                             {Recompute::full, false, &again}}) {
      VIBEE_ASSIGN(const std::vector<double> run, time_of(level, layers));
      all->insert(all->end(), run.begin(), run.end());
    }
  }
  const double extra = median(again) - median(kept);
  context.target("what full takes longer over what half the memory does",
                 extra / std::max(1e-9, median(half) - median(kept)), "x", 1 / 0.6);
  return {};
}

}  // namespace vibee
