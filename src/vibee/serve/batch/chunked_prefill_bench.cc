// SPDX-License-Identifier: Apache-2.0
// v1672: eight sequences generate when a long prompt comes; whole prompts (orca) against chunks of 64, turn by turn.
// What the stall was is the longest gap between two tokens of anybody.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {

Status bench_chunked_prefill(BenchContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  const uint32_t length = context.settings().quick ? 2048 : 4096;
  VIBEE_ASSIGN(const auto session, model.session({length + 64, 9, length, 9, KvFormat::f16}));
  std::vector<TrialRequest> requests;
  for (uint32_t i = 0; i < 8; ++i) requests.push_back({model.prompt(16, i), 96, 0});
  requests.push_back({model.prompt(length, 8), 16, 0.02});
  std::vector<double> gap, tail, first, rate;
  for (int i = 0; i < (context.settings().quick ? 3 : 7); ++i) {
    if (!context.proceed("whole and in chunks", i / 7.0)) return error(Code::cancelled, "stopped");
    EngineOptions whole, chunks;
    whole.policy = &kOrcaScheduling;
    chunks.chunk = 64;
    VIBEE_ASSIGN(const Trial a, run_trial(*session, whole, requests));
    VIBEE_ASSIGN(const Trial b, run_trial(*session, chunks, requests));
    gap.push_back(quantile(a.gaps_s, 1) / quantile(b.gaps_s, 1));
    first.push_back(b.first_token_s[8] / a.first_token_s[8]);
    rate.push_back(b.rate() / a.rate());
  }
  const std::string note = fmt::format("a prompt of {} among 8 sequences, median of pairs", length);
  context.target("longest gap, whole over chunks of 64", median(gap), "x", 20, note);
  context.figure("first token of the long prompt, chunks over whole", median(first), "x");
  context.target("tokens a second, chunks over whole", median(rate), "x", 0.92);
  return {};
}

}  // namespace vibee
