// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/thread/run_delay.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace vibee {
namespace {

TEST(RunDelay, GrowsWhereThreadsShareACore) {
  const double before = run_delay();
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(0, &one);
      sched_setaffinity(0, sizeof one, &one);
      while (!stop) {
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const double after = run_delay();
  stop = true;
  for (std::thread& t : threads) t.join();
  if (after == 0) GTEST_SKIP() << "this system does not count it";
  EXPECT_GT(after - before, 0.1);  // of three that want one core two wait, at least
}

}  // namespace
}  // namespace vibee
