// SPDX-License-Identifier: Apache-2.0
// A lock that is given in the order in which it was asked for: a thread that takes it again and again starves nobody.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace vibee {

/// To be held by std::lock_guard.
class Turns {
 public:
  void lock() {
    std::unique_lock hold(mutex_);
    const uint64_t mine = last_++;
    turn_.wait(hold, [&] { return now_ == mine; });
  }
  void unlock() {
    {
      const std::lock_guard hold(mutex_);
      ++now_;
    }
    turn_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  uint64_t last_ = 0, now_ = 0;
};

}  // namespace vibee
