// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

/// Two ranks on a link that takes 0.7 of the time of a step's computation, with and without overlap.
Status bench_overlap_compute_comm(BenchContext& context) {
  TrialTraining trial;
  trial.model.dim = 256;
  trial.model.layers = 4;
  trial.model.vocab = 256;
  trial.rows = 8;
  trial.length = context.settings().quick ? 256 : 512;
  trial.steps = context.settings().quick ? 4 : 10;
  trial.options.isa = context.settings().isa;
  trial.options.shares = 2;
  trial.options.buckets = {500'000, 2'000'000};
  VIBEE_ASSIGN(const TrialTraining::Run alone, trial.run(2));
  const double compute = median(alone.seconds);
  uint64_t bytes = 0;
  for (const CommThread::Span& span : alone.trace.communicate) bytes += span.bytes;
  trial.link.bytes_per_second = double(bytes) / (0.7 * compute);  // half of them each way, twice
  std::vector<double> off, on;
  double hidden = 0;
  const int rounds = context.settings().quick ? 3 : 7;
  for (int round = 0; round < rounds; ++round) {
    if (!context.proceed("training", double(round) / rounds)) break;
    for (const bool overlap : {false, true}) {
      trial.options.overlap = overlap;
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(2));
      auto& all = overlap ? on : off;
      all.insert(all.end(), run.seconds.begin(), run.seconds.end());
      if (overlap) hidden = hidden_share(run.compute(), run.communicate());
    }
  }
  const PairedRatio ratio = paired_ratio(off, on);
  const std::string note = fmt::format("shaped link of {:.1f} MB/s", trial.link.bytes_per_second / 1e6);
  context.figure("step without a slow link", 1e3 * compute, "ms");
  context.figure("step, overlap off", 1e3 * median(off), "ms", 0, note);
  context.figure("step, overlap on", 1e3 * median(on), "ms", 0, note);
  context.target("off over on", ratio.ratio, "x", 1.45,
                 fmt::format("{:.2f} to {:.2f} at 95 %; 1.7 if all were hidden", ratio.low, ratio.high));
  context.target("hidden share of the communication", hidden, "", 0.85, "of the last step");
  return {};
}

}  // namespace vibee
