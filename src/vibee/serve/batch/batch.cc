// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/batch.h"

#include <algorithm>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {
constexpr const SchedulerPolicy* kPolicies[] = {&kSarathiServe, &kChunkedPrefill, &kOrcaScheduling, &kRequestLevel};
}

std::span<const SchedulerPolicy* const> scheduler_policies() { return kPolicies; }

Result<const SchedulerPolicy*> find_policy(std::string_view id) {
  std::string known;
  for (const SchedulerPolicy* policy : kPolicies) {
    if (policy->id == id) return policy;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", policy->id);
  }
  return error(Code::invalid, "--policy {}: unknown; use {}", quote(id), known);
}

uint32_t pack_generating(std::span<const SeqView> running, std::span<uint32_t> rows) {
  uint32_t sum = 0;
  for (size_t i = 0; i < running.size(); ++i) {
    if (running[i].prompt) continue;
    rows[i] = 1;
    ++sum;
  }
  return sum;
}

void pack_prompts(std::span<const SeqView> running, uint32_t left, std::span<uint32_t> rows) {
  for (size_t i = 0; i < running.size(); ++i) {
    if (!running[i].prompt) continue;
    rows[i] = std::min(running[i].missing, left);
    left -= rows[i];
  }
}

}  // namespace vibee
