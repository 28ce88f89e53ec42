// SPDX-License-Identifier: Apache-2.0
// Threads stay on one core while they are held, and may go where they could before.
#include "vibee/base/thread/pinned_team.h"

#include <gtest/gtest.h>
#include <pthread.h>

namespace vibee {
namespace {

std::vector<cpu_set_t> cores_of(Team& team) {
  std::vector<cpu_set_t> out(team.size());
  team.run([&](uint32_t tid) { pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), &out[tid]); });
  return out;
}

TEST(PinnedTeam, HoldsThreadsAndLetsThemGo) {
  Team team(3);
  const std::vector<cpu_set_t> before = cores_of(team);
  {
    const PinnedTeam pinned(team);
    for (const cpu_set_t& cores : cores_of(team)) EXPECT_TRUE(CPU_COUNT(&cores) == 1 || CPU_EQUAL(&cores, &before[0]));
  }
  const std::vector<cpu_set_t> after = cores_of(team);
  for (size_t t = 0; t < after.size(); ++t) EXPECT_TRUE(CPU_EQUAL(&after[t], &before[t]));
}

}  // namespace
}  // namespace vibee
