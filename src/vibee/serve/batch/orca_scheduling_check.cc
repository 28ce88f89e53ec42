// SPDX-License-Identifier: Apache-2.0
// v1680: schedules written by hand, first come first served on random streams, and the same tokens under every policy.
#include <algorithm>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {
namespace {

using Rows = std::vector<uint32_t>;
Rows packed(const SchedulerPolicy& policy, const std::vector<SeqView>& running, uint32_t max_rows) {
  Rows rows(running.size());
  policy.pack(running, {max_rows, 16, max_rows, nullptr}, rows);
  return rows;
}
constexpr SeqView prompt(uint32_t missing, bool begun = false) { return {0, missing, true, begun, 0}; }
constexpr SeqView generating(uint32_t computed) { return {computed, 1, false, true, 0}; }

}  // namespace

Status check_orca_scheduling(CheckContext& context) {
  for (const char* part : {"batches in flight on a pipeline", "the padded baseline (`request:pad`)",
                           "admission without reservation (`orca:paged`)", "preemption"})
    context.not_built(part);
  if (context.describe_only()) return {};
  int wrong = 0;
  const auto expect = [&](const Rows& is, const Rows& want) { wrong += is != want; };
  const SchedulerPolicy &orca = kOrcaScheduling, &whole = kRequestLevel;
  // Somebody comes late: the whole prompt joins those who generate; the baseline does not even admit it.
  expect(packed(orca, {generating(9), generating(5), prompt(40)}, 64), {1, 1, 40});
  wrong += !orca.admits(std::vector{generating(9)}, {64, 16, 64, nullptr});
  wrong += whole.admits(std::vector{generating(9)}, {64, 16, 64, nullptr});
  // Somebody ends early: one place is free at once, in the baseline when all have ended.
  wrong += !orca.admits(std::vector(15, generating(9)), {64, 16, 64, nullptr});
  wrong += orca.admits(std::vector(16, generating(9)), {64, 16, 64, nullptr});
  wrong += !whole.admits({}, {64, 16, 64, nullptr});
  // A prompt longer than a step: its iteration goes on, nobody generates twice in it.
  expect(packed(orca, {generating(9), prompt(100)}, 64), {1, 63});
  expect(packed(orca, {generating(10), prompt(37, true), prompt(20)}, 64), {0, 37, 20});
  // Order of arrival: a short prompt does not slip past a long one.
  expect(packed(orca, {prompt(100), prompt(2)}, 64), {64, 0});
  expect(packed(whole, {prompt(30), prompt(50)}, 64), {30, 34});
  expect(packed(whole, {generating(9), prompt(5)}, 64), {0, 5});
  expect(packed(whole, {generating(9), generating(5)}, 64), {1, 1});
  context.equal("schedules that differ from those written by hand", wrong, 0);

  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), false));
  std::vector<TrialRequest> requests;
  RandomStream random(context.settings().seed, Purpose::test);
  for (uint32_t i = 0; i < 24; ++i)
    requests.push_back({model.prompt(1 + random.below(60), i), 1 + random.below(30), 0});
  size_t differing = 0, overtaken = 0;
  std::vector<std::vector<int32_t>> want;
  for (const SchedulerPolicy* policy : scheduler_policies()) {
    if (!context.proceed(policy->id, 0.5)) return error(Code::cancelled, "stopped");
    VIBEE_ASSIGN(const auto session, model.session({128, 5, 48, 5, KvFormat::f16}));
    EngineOptions options;
    options.policy = policy;
    VIBEE_ASSIGN(const Trial trial, run_trial(*session, options, requests));
    if (want.empty()) want = trial.tokens;
    for (size_t i = 0; i < requests.size(); ++i) {
      differing += trial.tokens[i] != want[i];
      overtaken += i > 0 && trial.first_token_s[i] < trial.first_token_s[i - 1];
    }
  }
  context.equal("answers that depend on the policy", double(differing), 0, "", "24 requests, 4 policies");
  context.equal("first tokens out of the order of arrival", double(overtaken), 0);
  return {};
}

}  // namespace vibee
