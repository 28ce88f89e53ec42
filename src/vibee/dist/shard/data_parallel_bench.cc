// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

/// Two ranks of one thread beside one process of two, on the same rows; local transport.
Status bench_data_parallel(BenchContext& context) {
  TrialTraining trial;
  trial.model.dim = context.settings().quick ? 192 : 384;
  trial.model.vocab = 512;
  trial.rows = 4;
  trial.length = 128;
  trial.steps = context.settings().quick ? 5 : 15;
  trial.options.isa = context.settings().isa;
  trial.options.shares = 2;
  std::vector<double> one_process, two_ranks;
  const int rounds = context.settings().quick ? 3 : 7;
  for (int round = 0; round < rounds; ++round) {
    if (!context.proceed("training", double(round) / rounds)) break;
    trial.options.threads = 2;
    VIBEE_ASSIGN(const TrialTraining::Run one, trial.run(0));
    trial.options.threads = 1;
    VIBEE_ASSIGN(const TrialTraining::Run two, trial.run(2));
    one_process.insert(one_process.end(), one.seconds.begin(), one.seconds.end());
    two_ranks.insert(two_ranks.end(), two.seconds.begin(), two.seconds.end());
  }
  const double tokens = trial.rows * trial.length;
  const PairedRatio ratio = paired_ratio(one_process, two_ranks);
  const std::string note = fmt::format("threads of one process; median of {} steps", two_ranks.size());
  context.figure("one process, 2 threads", tokens / median(one_process), "tokens/s", 0, note);
  context.figure("2 ranks, 1 thread each", tokens / median(two_ranks), "tokens/s", 0, note);
  context.target("2 ranks over one process", ratio.ratio, "x", 0.97,
                 fmt::format("{:.2f} to {:.2f} at 95 %", ratio.low, ratio.high));
  return {};
}

}  // namespace vibee
