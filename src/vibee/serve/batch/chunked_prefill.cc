// SPDX-License-Identifier: Apache-2.0
// v1672 chunked_prefill: a prompt is computed in pieces that share steps with sequences that generate, so a long one
// stalls nobody for longer than a piece takes and needs no more work memory than a short one (Agrawal et al., SARATHI,
// 2023; Holmes et al., DeepSpeed-FastGen, 2024). Every step is filled to `chunk` rows: one of each sequence that
// generates, the rest of prompts, the oldest first.
#include <algorithm>

#include "vibee/serve/batch/batch.h"

namespace vibee {
namespace {

bool admits(std::span<const SeqView> running, const Limits& limits) { return running.size() < limits.max_seqs; }

void pack(std::span<const SeqView> running, const Limits& limits, std::span<uint32_t> rows) {
  const uint32_t generating = pack_generating(running, rows);
  const uint32_t most = std::min(limits.chunk, limits.max_rows);
  pack_prompts(running, most > generating ? most - generating : 0, rows);
}

}  // namespace

const SchedulerPolicy kChunkedPrefill = {"chunked", "chunked_prefill", admits, pack};

}  // namespace vibee
