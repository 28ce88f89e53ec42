// SPDX-License-Identifier: Apache-2.0
// v1680: 64 requests at once, prompts of 32 to 128 tokens, answers of 1 to 128, 16 together; the same kernels under
// both policies, turn by turn.
#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {

Status bench_orca_scheduling(BenchContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  std::vector<TrialRequest> requests;
  RandomStream random(context.settings().seed, Purpose::workload);
  uint64_t useful = 0;
  for (uint32_t i = 0; i < 64; ++i) {
    requests.push_back({model.prompt(32 + random.below(97), i), 1 + random.below(128), 0});
    useful += requests.back().prompt.size() + requests.back().tokens - 1;
  }
  VIBEE_ASSIGN(const auto session, model.session({256, 16, 256, 16, KvFormat::f16}));
  std::vector<double> ratios, first;
  double efficiency = 0, baseline = 0;
  for (int i = 0; i < (context.settings().quick ? 3 : 7); ++i) {
    if (!context.proceed("orca and request", i / 7.0)) return error(Code::cancelled, "stopped");
    EngineOptions orca, whole;
    orca.policy = &kOrcaScheduling;
    whole.policy = &kRequestLevel;
    VIBEE_ASSIGN(const Trial a, run_trial(*session, orca, requests));
    VIBEE_ASSIGN(const Trial b, run_trial(*session, whole, requests));
    ratios.push_back(a.rate() / b.rate());
    first.push_back(quantile(b.first_token_s, 0.95) / quantile(a.first_token_s, 0.95));
    efficiency = double(useful) / double(a.stats.rows);
    baseline = double(useful) / double(b.stats.rows);
  }
  context.target("tokens a second, orca over request", median(ratios), "x", 1.4, "64 requests, median of pairs");
  context.figure("p95 of the first token, request over orca", median(first), "x");
  context.target("useful rows of all, orca", efficiency, "", 0.995);
  context.figure("useful rows of all, request", baseline, "");
  return {};
}

}  // namespace vibee
