// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/fiber.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>

// There where the program is built with the sanitizer (sanitizer/common_interface_defs.h, tsan_interface.h).
extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom_old, size_t* size_old);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}

namespace vibee {
namespace {

void leave(void** fake, const void* stack, size_t bytes, void* tsan) {
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(fake, stack, bytes);
  if (tsan) __tsan_switch_to_fiber(tsan, 0);
}

}  // namespace

Fiber::Fiber(size_t stack_bytes, std::function<void()> body) : body_(std::move(body)) {
  boost::context::protected_fixedsize_stack allocator(stack_bytes);
  boost::context::stack_context context = allocator.allocate();
  // sp is the high end; what Boost keeps there is the fiber's as well.
  stack_bytes_ = context.size;
  stack_ = static_cast<const char*>(context.sp) - context.size;
  if (__tsan_create_fiber) tsan_inside_ = __tsan_create_fiber(0);
  inside_ = boost::context::fiber(std::allocator_arg, boost::context::preallocated(context.sp, context.size, context),
                                  allocator, [this](boost::context::fiber&& outside) {
                                    outside_ = std::move(outside);
                                    if (__sanitizer_finish_switch_fiber)
                                      __sanitizer_finish_switch_fiber(nullptr, &outer_stack_, &outer_bytes_);
                                    body_();
                                    leave(nullptr, outer_stack_, outer_bytes_, tsan_outside_);  // its fake stack goes
                                    return std::move(outside_);
                                  });
}

Fiber::~Fiber() {
  if (tsan_inside_) __tsan_destroy_fiber(tsan_inside_);
}

void Fiber::resume() {
  void* fake = nullptr;
  if (tsan_inside_) tsan_outside_ = __tsan_get_current_fiber();
  leave(&fake, stack_, stack_bytes_, tsan_inside_);
  inside_ = std::move(inside_).resume();
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void Fiber::suspend() {
  leave(&inner_fake_, outer_stack_, outer_bytes_, tsan_outside_);
  outside_ = std::move(outside_).resume();
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(inner_fake_, &outer_stack_, &outer_bytes_);
}

}  // namespace vibee
