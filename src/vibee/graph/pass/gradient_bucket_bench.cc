// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

/// A step of two ranks on a link of 2 ms and 20 MB/s, with buckets of several sizes.
Status bench_gradient_bucket(BenchContext& context) {
  TrialTraining trial;
  trial.model.dim = 128;
  trial.model.layers = 4;
  trial.model.vocab = 512;
  trial.rows = 2;
  trial.length = 128;
  trial.steps = context.settings().quick ? 4 : 12;
  trial.options.isa = context.settings().isa;
  trial.options.shares = 2;
  trial.link = {2e-3, 20e6};
  struct Rule {
    const char* name;
    BucketRule rule;
  };
  const Rule rules[] = {{"one a tensor", {1, 1}},
                        {"0.25 MB, the first 0.1 MB", {100'000, 250'000}},
                        {"1 MB, the first 0.25 MB", {250'000, 1'000'000}},
                        {"one for all", {UINT64_MAX, UINT64_MAX}}};
  double best = 1e300, worst = 0;
  for (const Rule& r : rules) {
    if (!context.proceed(r.name, double(&r - rules) / std::size(rules))) break;
    trial.options.buckets = r.rule;
    VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(2));
    const double seconds = median(run.seconds);
    best = std::min(best, seconds);
    worst = std::max(worst, seconds);
    context.figure(fmt::format("step, {}", r.name), 1e3 * seconds, "ms", 0,
                   fmt::format("{} buckets; shaped link", run.trace.communicate.size()));
  }
  context.target("the worst over the best", worst / best, "x", 1.25, "shaped link");
  return {};
}

}  // namespace vibee
