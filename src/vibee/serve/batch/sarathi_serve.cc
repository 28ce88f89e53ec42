// SPDX-License-Identifier: Apache-2.0
// v1679 sarathi_serve: stall-free batching under a promised time between tokens (Agrawal et al., OSDI 2024). No
// sequence that generates is ever left out; prompts get as many rows as still fit before the first of the promises is
// due, by what the cost curve says of 95 steps in 100. When those that generate exceed it alone, nobody else is admitted.
#include <algorithm>

#include "vibee/serve/batch/batch.h"

namespace vibee {
namespace {

struct Room {
  StepLoad generating;
  float slack_s;  ///< of the sequence whose token is due first; without one there is no promise to keep
  bool promised;
};

Room room_of(std::span<const SeqView> running) {
  Room r{{}, 0, false};
  for (const SeqView& s : running) {
    if (s.prompt) continue;
    r.generating.add(1, s.computed, 1);
    r.slack_s = r.promised ? std::min(r.slack_s, s.slack_s) : s.slack_s;
    r.promised = true;
  }
  return r;
}

/// What rows of prompts add, taken in order of arrival.
StepLoad load_of(std::span<const SeqView> running, uint32_t prompt_rows, StepLoad load) {
  for (const SeqView& s : running) {
    if (!s.prompt || prompt_rows == 0) continue;
    const uint32_t n = std::min(s.missing, prompt_rows);
    load.add(n, s.computed, n == s.missing);
    prompt_rows -= n;
  }
  return load;
}

bool admits(std::span<const SeqView> running, const Limits& limits) {
  if (running.size() >= limits.max_seqs) return false;
  if (limits.time == nullptr) return true;
  const Room room = room_of(running);
  StepLoad one_more = room.generating;
  one_more.add(1, 0, 1);
  return !room.promised || limits.time->bound(one_more) <= limits.time->promise_s;
}

void pack(std::span<const SeqView> running, const Limits& limits, std::span<uint32_t> rows) {
  const uint32_t generating = pack_generating(running, rows);
  uint32_t most = limits.max_rows - generating;
  const Room room = room_of(running);
  if (limits.time != nullptr && room.promised) {
    // The largest number of rows in time; the cost grows with them.
    uint32_t fits = 0;
    while (fits < most) {
      const uint32_t middle = most - (most - fits) / 2;
      if (limits.time->bound(load_of(running, middle, room.generating)) <= room.slack_s) {
        fits = middle;
      } else {
        most = middle - 1;
      }
    }
  }
  pack_prompts(running, most, rows);
}

}  // namespace

const SchedulerPolicy kSarathiServe = {"sarathi", "sarathi_serve", admits, pack};

}  // namespace vibee
