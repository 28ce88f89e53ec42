// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/thread/team.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vibee {
namespace {

TEST(Team, SharesCoverEverythingOnce) {
  for (uint32_t n : {0u, 1u, 5u, 17u, 1000u})
    for (uint32_t threads : {1u, 2u, 3u, 7u}) {
      uint32_t next = 0;
      for (uint32_t t = 0; t < threads; ++t) {
        const Range r = share(n, t, threads);
        EXPECT_EQ(r.begin, next);
        next = r.end;
      }
      EXPECT_EQ(next, n);
    }
}

TEST(Team, BarriersOrderPlainWrites) {
  for (uint32_t threads : {1u, 2u, 4u}) {
    Team team(threads);
    std::vector<uint64_t> value(threads);
    for (int round = 0; round < 200; ++round) {
      team.run([&](uint32_t tid) {
        for (int step = 0; step < 20; ++step) {
          value[tid] += 1;
          team.barrier();
          uint64_t sum = 0;
          for (uint64_t v : value) sum += v;
          EXPECT_EQ(sum, value[tid] * threads);
          team.barrier();
        }
      });
    }
    EXPECT_EQ(value[0], 4000u);
  }
}

TEST(Team, SleepersWake) {
  Team team(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> ran{0};
    team.run([&](uint32_t tid) {
      if (tid == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      team.barrier();
      ++ran;
    });
    EXPECT_EQ(ran.load(), 3);
  }
}

}  // namespace
}  // namespace vibee
