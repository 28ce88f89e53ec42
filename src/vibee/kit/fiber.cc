// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/fiber.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

// There where the program is built with the address sanitizer (sanitizer/common_interface_defs.h, asan_interface.h).
// The thread sanitizer is told nothing: to it a thread's fibers are that thread, which is what they are. (Told of
// fibers, each switch joins clocks of hundreds of threads: kernels_pointwise_test took more than two minutes then.)
extern "C" {  // NOLINTBEGIN(readability-identifier-naming): theirs
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom_old, size_t* size_old);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* at, size_t size);
}  // NOLINTEND(readability-identifier-naming)

namespace vibee {
namespace {

constexpr size_t kStackBytes = 256 << 10;  // sanitizers multiply what a frame takes; pages are taken when touched

thread_local std::vector<std::unique_ptr<Fiber>> idle_fibers;

}  // namespace

std::unique_ptr<Fiber> take_fiber() {
  if (idle_fibers.empty()) return std::make_unique<Fiber>(kStackBytes);
  std::unique_ptr<Fiber> fiber = std::move(idle_fibers.back());
  idle_fibers.pop_back();
  return fiber;
}

void give_fiber(std::unique_ptr<Fiber> fiber) { idle_fibers.push_back(std::move(fiber)); }

Fiber::Fiber(size_t stack_bytes) {
  boost::context::protected_fixedsize_stack allocator(stack_bytes);
  boost::context::stack_context context = allocator.allocate();
  // sp is the high end; what Boost keeps there is the fiber's as well.
  stack_bytes_ = context.size;
  stack_ = static_cast<const char*>(context.sp) - context.size;
  inside_ = boost::context::fiber(std::allocator_arg, boost::context::preallocated(context.sp, context.size, context),
                                  allocator, [this](boost::context::fiber&& outside) {
                                    outside_ = std::move(outside);
                                    if (__sanitizer_finish_switch_fiber)
                                      __sanitizer_finish_switch_fiber(nullptr, &outer_stack_, &outer_bytes_);
                                    while (!ends_) {
                                      body_();
                                      body_ = nullptr;
                                      suspend();
                                    }
                                    if (__sanitizer_start_switch_fiber)  // for good
                                      __sanitizer_start_switch_fiber(nullptr, outer_stack_, outer_bytes_);
                                    return std::move(outside_);
                                  });
}

Fiber::~Fiber() {
  ends_ = true;
  resume();
  // The frames that a fiber ends in do not return, so the sanitizer still minds what lay around their variables.
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(stack_, stack_bytes_);
}

void Fiber::start(std::function<void()> body) { body_ = std::move(body); }

void Fiber::resume() {
  void* fake = nullptr;
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&fake, stack_, stack_bytes_);
  inside_ = std::move(inside_).resume();
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void Fiber::suspend() {
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&inner_fake_, outer_stack_, outer_bytes_);
  outside_ = std::move(outside_).resume();
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(inner_fake_, &outer_stack_, &outer_bytes_);
}

}  // namespace vibee
