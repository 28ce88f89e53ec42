// SPDX-License-Identifier: Apache-2.0
// A team whose threads stay on a core each for a while, so that what is measured does not depend on where the system
// puts them.
#pragma once

#include <sched.h>

#include <vector>

#include "vibee/base/thread/team.h"

namespace vibee {

class PinnedTeam {
 public:
  /// Thread t goes to the t-th core that the process may use, round and round. Where the system refuses, it stays free.
  explicit PinnedTeam(Team& team);
  ~PinnedTeam();
  PinnedTeam(const PinnedTeam&) = delete;
  PinnedTeam& operator=(const PinnedTeam&) = delete;

 private:
  Team& team_;
  std::vector<cpu_set_t> before_;  ///< one a thread
};

}  // namespace vibee
