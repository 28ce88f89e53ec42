// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/fiber.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

// There where the program is built with the sanitizer (sanitizer/common_interface_defs.h, tsan_interface.h).
extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom_old, size_t* size_old);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* at, size_t size);
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

/// Stacks that a thread has used, with a page below each that nothing may touch: a launch takes hundreds, and giving
/// them back to the system is most of what a short one costs.
class StackPool {
 public:
  ~StackPool() {
    for (const boost::context::stack_context& context : free_) release(context);
  }
  boost::context::stack_context take(size_t bytes) {
    if (!free_.empty() && free_.back().size >= bytes) {
      const boost::context::stack_context context = free_.back();
      free_.pop_back();
      return context;
    }
    return boost::context::protected_fixedsize_stack(bytes).allocate();
  }
  void give(const boost::context::stack_context& context) {
    // The frames that a fiber ends in never return, so address sanitizers still hold what lies around their variables.
    if (__asan_unpoison_memory_region)
      __asan_unpoison_memory_region(static_cast<const char*>(context.sp) - context.size, context.size);
    free_.push_back(context);
  }

 private:
  static void release(boost::context::stack_context context) {
    boost::context::protected_fixedsize_stack().deallocate(context);
  }
  std::vector<boost::context::stack_context> free_;
};
thread_local StackPool stacks;

/// The allocator that Boost asks: a fiber gives its stack back when its function has ended.
struct PooledStack {
  boost::context::stack_context allocate() { return stacks.take(bytes); }
  void deallocate(boost::context::stack_context& context) { stacks.give(context); }
  size_t bytes;
};

}  // namespace

Fiber::Fiber(size_t stack_bytes, std::function<void()> body) : body_(std::move(body)) {
  PooledStack allocator{stack_bytes};
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
