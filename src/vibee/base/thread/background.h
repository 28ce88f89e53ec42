// SPDX-License-Identifier: Apache-2.0
// A thread for what somebody else must not wait for: it does what it is given, one after another.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace vibee {

class Background {
 public:
  /// A task must not throw.
  using Task = std::function<void()>;
  Background();
  /// Ends what is being done and forgets the rest.
  ~Background();
  void add(Task task);

 private:
  void loop();

  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace vibee
