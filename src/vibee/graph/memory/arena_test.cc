// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/memory/arena.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

TEST(Arena, NeverOverlapsAndNeverBelowTheFloor) {
  RandomStream random(3, Purpose::test);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<ArenaRequest> requests(random.below(40));
    for (auto& r : requests) {
      r.bytes = random.below(5000);
      r.first = random.below(20);
      r.last = r.first + random.below(6);
    }
    const ArenaPlan plan = plan_arena(requests);
    uint64_t floor = 0, sum = 0;
    for (uint32_t region = 0; region < 30; ++region) {
      uint64_t alive = 0;
      for (const auto& r : requests)
        if (r.first <= region && region <= r.last) alive += r.bytes;
      floor = std::max(floor, alive);
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      sum += requests[i].bytes + 63;
      EXPECT_EQ(plan.offset[i] % 64, 0u);
      EXPECT_LE(plan.offset[i] + requests[i].bytes, plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool together = requests[i].first <= requests[j].last && requests[j].first <= requests[i].last;
        const bool apart = plan.offset[i] + requests[i].bytes <= plan.offset[j] ||
                           plan.offset[j] + requests[j].bytes <= plan.offset[i];
        EXPECT_TRUE(!together || apart || requests[i].bytes == 0 || requests[j].bytes == 0);
      }
    }
    EXPECT_GE(plan.bytes, floor);
    EXPECT_LE(plan.bytes, sum + 64);
  }
}

TEST(Arena, ChainOfTwoReusesMemory) {
  const ArenaRequest r[] = {{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {1000, 3, 4}};
  EXPECT_EQ(plan_arena(r).bytes, 2048u);
}

}  // namespace
}  // namespace vibee
