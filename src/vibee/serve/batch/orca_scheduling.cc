// SPDX-License-Identifier: Apache-2.0
// v1680 orca_scheduling: the scheduler is asked before every iteration; who is done leaves at once, who comes joins the
// next one with its whole prompt (Yu et al., OSDI 2022). Arrivals are never overtaken. An iteration whose prompts have
// more rows than a step holds takes several steps, and who generates gets one token in it all the same.
#include <algorithm>

#include "vibee/serve/batch/batch.h"

namespace vibee {
namespace {

bool admits(std::span<const SeqView> running, const Limits& limits) { return running.size() < limits.max_seqs; }

void pack(std::span<const SeqView> running, const Limits& limits, std::span<uint32_t> rows) {
  const bool inside = std::any_of(running.begin(), running.end(), [](const SeqView& s) { return s.prompt && s.begun; });
  const uint32_t generating = inside ? 0 : pack_generating(running, rows);
  pack_prompts(running, limits.max_rows - generating, rows);
}

}  // namespace

const SchedulerPolicy kOrcaScheduling = {"orca", "orca_scheduling", admits, pack};

}  // namespace vibee
