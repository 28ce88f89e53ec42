// SPDX-License-Identifier: Apache-2.0
// The arena planner: values with lifetimes get offsets in one block of memory. Lifetimes are counted in regions of the
// plan, so a buffer is handed on only behind a barrier. Greedy by size (Pisarchyk and Lee 2020, section 3.2,
// arXiv:2001.03288).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vibee {

struct ArenaRequest {
  uint64_t bytes;
  uint32_t first, last;  ///< regions in which the buffer is alive, both inclusive
};
struct ArenaPlan {
  std::vector<uint64_t> offset;  ///< one a request, multiples of 64
  uint64_t bytes = 0;            ///< of the whole arena
};
/// Offsets such that no two requests that are alive together overlap. Deterministic.
ArenaPlan plan_arena(std::span<const ArenaRequest> requests);

}  // namespace vibee
