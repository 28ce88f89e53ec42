// SPDX-License-Identifier: Apache-2.0
// A function on a stack of its own that gives way and goes on (Boost.Context), known to address and thread sanitizers.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>

namespace vibee {

class Fiber {
 public:
  /// `body` runs when it is first resumed; it lets no exception out. It has to have ended when the fiber is
  /// destroyed.
  Fiber(size_t stack_bytes, std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// From outside: goes on until the body suspends or ends.
  void resume();
  /// From the body: back to who resumed it.
  void suspend();
  bool done() const { return !inside_; }

 private:
  std::function<void()> body_;
  boost::context::fiber inside_, outside_;
  const void* stack_ = nullptr;  // lowest address, as sanitizers want it
  size_t stack_bytes_ = 0;
  const void* outer_stack_ = nullptr;
  size_t outer_bytes_ = 0;
  void* inner_fake_ = nullptr;
  void* tsan_inside_ = nullptr;
  void* tsan_outside_ = nullptr;
};

}  // namespace vibee
