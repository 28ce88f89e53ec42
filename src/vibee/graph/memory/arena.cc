// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/memory/arena.h"

#include <algorithm>
#include <numeric>

#include "vibee/base/memory/checked.h"

namespace vibee {

ArenaPlan plan_arena(std::span<const ArenaRequest> requests) {
  ArenaPlan plan;
  plan.offset.assign(requests.size(), 0);
  std::vector<uint32_t> order(requests.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<uint32_t> placed;
  for (uint32_t id : order) {
    const ArenaRequest& r = requests[id];
    std::vector<uint32_t> rivals;
    for (uint32_t other : placed)
      if (requests[other].first <= r.last && r.first <= requests[other].last) rivals.push_back(other);
    std::sort(rivals.begin(), rivals.end(), [&](uint32_t a, uint32_t b) { return plan.offset[a] < plan.offset[b]; });
    uint64_t at = 0;  // first gap that is wide enough
    for (uint32_t other : rivals) {
      if (plan.offset[other] >= at + r.bytes) break;
      at = std::max(at, round_up(plan.offset[other] + requests[other].bytes, 64));
    }
    plan.offset[id] = at;
    plan.bytes = std::max(plan.bytes, round_up(at + r.bytes, 64));
    placed.push_back(id);
  }
  return plan;
}

}  // namespace vibee
