// SPDX-License-Identifier: Apache-2.0
// The baseline that iteration-level scheduling is measured against: a batch of requests is taken together, runs until
// the longest has ended, and only then the next batch begins; the shape of a batch is fixed, so that who is done keeps
// its row (FasterTransformer, as described by Yu et al., OSDI 2022).
#include <algorithm>

#include "vibee/serve/batch/batch.h"

namespace vibee {
namespace {

bool admits(std::span<const SeqView> running, const Limits& limits) {
  const bool forming = std::none_of(running.begin(), running.end(), [](const SeqView& s) { return s.begun; });
  return forming && running.size() < limits.max_seqs;
}

void pack(std::span<const SeqView> running, const Limits& limits, std::span<uint32_t> rows) {
  const bool prompts = std::any_of(running.begin(), running.end(), [](const SeqView& s) { return s.prompt; });
  if (prompts) {
    pack_prompts(running, limits.max_rows, rows);
  } else {
    pack_generating(running, rows);
  }
}

}  // namespace

const SchedulerPolicy kRequestLevel = {"request", "", admits, pack, true};

}  // namespace vibee
