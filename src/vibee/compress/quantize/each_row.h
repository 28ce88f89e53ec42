// SPDX-License-Identifier: Apache-2.0
// Rows of a matrix, quantised one by one on all threads.
#pragma once

#include <atomic>

#include "vibee/base/thread/team.h"

namespace vibee {

/// Runs fn(i) of 0 .. n - 1 on a team, or here.
template <class F>
void each_row(uint64_t n, Team* team, F&& fn) {
  std::atomic<uint64_t> next{0};
  const auto work = [&](uint32_t) {
    for (uint64_t i; (i = next++) < n;) fn(i);
  };
  if (team == nullptr) return work(0);
  team->run(work);
}

}  // namespace vibee
