// SPDX-License-Identifier: Apache-2.0
// v1679: prompts keep coming while others generate; the gap between tokens against the promise of four steps of one row
// each, and what whole prompts (orca) do to it.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {

Status bench_sarathi_serve(BenchContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  VIBEE_ASSIGN(const auto session, model.session({1024, 8, 512, 8, KvFormat::f16}));
  VIBEE_ASSIGN(const StepTime time, measure_step_time(*session));
  const double promise = 5 * time.seconds({8, 8 * 300, 8 * 300, 8});
  std::vector<TrialRequest> requests;
  for (uint32_t i = 0; i < 24; ++i) requests.push_back({model.prompt(i % 3 ? 40 : 500, i), 60, 0.5 * promise * i});
  std::vector<double> kept, orca_gap;
  for (int i = 0; i < (context.settings().quick ? 3 : 7); ++i) {
    if (!context.proceed("sarathi and orca", i / 7.0)) return error(Code::cancelled, "stopped");
    StepTime curve = time;
    curve.promise_s = promise;
    EngineOptions sarathi, orca;
    sarathi.policy = &kSarathiServe;
    sarathi.time = &curve;
    orca.policy = &kOrcaScheduling;
    VIBEE_ASSIGN(const Trial a, run_trial(*session, sarathi, requests));
    VIBEE_ASSIGN(const Trial b, run_trial(*session, orca, requests));
    kept.push_back(promise / quantile(a.gaps_s, 0.99));
    orca_gap.push_back(quantile(b.gaps_s, 0.99) / quantile(a.gaps_s, 0.99));
  }
  context.target("promise over p99 of the gaps", median(kept), "x", 1 / 1.05,
                 fmt::format("promise {:.1f} ms, median of runs", 1e3 * promise));
  context.figure("p99 of the gaps, orca over sarathi", median(orca_gap), "x");
  return {};
}

}  // namespace vibee
