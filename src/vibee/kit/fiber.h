// SPDX-License-Identifier: Apache-2.0
// Functions on a stack of their own that give way and go on (Boost.Context), known to the address sanitizer.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>
#include <memory>

namespace vibee {

class Fiber {
 public:
  explicit Fiber(size_t stack_bytes);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  /// The fiber is idle.
  ~Fiber();

  /// Of an idle fiber: `body` runs when it is resumed; it lets no exception out.
  void start(std::function<void()> body);
  /// From outside: goes on until the body suspends or ends.
  void resume();
  /// From the body: back to who resumed it.
  void suspend();
  /// Whether it has no body, or its body has ended.
  bool idle() const { return !body_; }

 private:
  std::function<void()> body_;
  bool ends_ = false;
  boost::context::fiber inside_, outside_;
  const void* stack_ = nullptr;  // lowest address, as sanitizers want it
  size_t stack_bytes_ = 0;
  const void* outer_stack_ = nullptr;
  size_t outer_bytes_ = 0;
  void* inner_fake_ = nullptr;
};

/// Idle fibers of the calling thread, which are used again: a launch takes hundreds, and making their stacks is most of
/// what a short one costs.
std::unique_ptr<Fiber> take_fiber();
void give_fiber(std::unique_ptr<Fiber> fiber);

}  // namespace vibee
