// SPDX-License-Identifier: Apache-2.0
// v1672: eight sequences generate when a long prompt comes; whole prompts (orca) against chunks of 64, turn by turn.
// What the stall was is the longest gap between two tokens of anybody. It cannot be shorter by more than what the two
// kinds of steps take on this machine, which is measured before.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {
namespace {

constexpr uint32_t kChunk = 64, kGenerating = 8;

}  // namespace

Status bench_chunked_prefill(BenchContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  const uint32_t length = context.settings().quick ? 2048 : 4096;
  VIBEE_ASSIGN(const auto session, model.session({length + 64, 9, length, 9, KvFormat::f16}));
  VIBEE_ASSIGN(const StepTime time, measure_step_time(*session));
  StepLoad whole_step, last_chunk;
  whole_step.add(length, 0, 1);
  last_chunk.add(kChunk - kGenerating, length - (kChunk - kGenerating), 1);
  for (uint32_t i = 0; i < kGenerating; ++i)
    for (StepLoad* load : {&whole_step, &last_chunk}) load->add(1, 64, 1);
  const double floor = time.seconds(whole_step) / time.seconds(last_chunk);
  std::vector<TrialRequest> requests;
  for (uint32_t i = 0; i < kGenerating; ++i) requests.push_back({model.prompt(16, i), 96, 0});
  requests.push_back({model.prompt(length, kGenerating), 16, 0.02});
  std::vector<double> gap, tail, first, rate;
  for (int i = 0; i < (context.settings().quick ? 3 : 7); ++i) {
    if (!context.proceed("whole and in chunks", i / 7.0)) return error(Code::cancelled, "stopped");
    EngineOptions whole, chunks;
    whole.policy = &kOrcaScheduling;
    chunks.chunk = kChunk;
    VIBEE_ASSIGN(const Trial a, run_trial(*session, whole, requests));
    VIBEE_ASSIGN(const Trial b, run_trial(*session, chunks, requests));
    gap.push_back(quantile(a.gaps_s, 1) / quantile(b.gaps_s, 1));
    first.push_back(b.first_token_s[kGenerating] / a.first_token_s[kGenerating]);
    rate.push_back(b.rate() / a.rate());
  }
  const std::string note = fmt::format("a prompt of {} among 8 sequences, median of pairs", length);
  context.target("longest gap, whole over chunks of 64", median(gap), "x", std::min(20.0, 0.85 * floor),
                 fmt::format("{}; {:.1f} is what the steps' times allow, the target 0.85 of it or 20", note, floor));
  context.figure("first token of the long prompt, chunks over whole", median(first), "x");
  context.target("tokens a second, chunks over whole", median(rate), "x", 0.92);
  return {};
}

}  // namespace vibee
