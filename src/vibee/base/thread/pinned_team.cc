// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/thread/pinned_team.h"

#include <pthread.h>

namespace vibee {

PinnedTeam::PinnedTeam(Team& team) : team_(team), before_(team.size()) {
  team.run([&](uint32_t tid) {
    pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), &before_[tid]);
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &before_[tid])) cores.push_back(core);
    if (cores.empty()) return;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(cores[tid % cores.size()], &mine);
    pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), &mine);
  });
}

PinnedTeam::~PinnedTeam() {
  team_.run([&](uint32_t tid) { pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), &before_[tid]); });
}

}  // namespace vibee
