// SPDX-License-Identifier: Apache-2.0
// A device with its primary context, through which every call of the driver goes: a failed call becomes a Status, and a
// device that is lost answers all later calls with the same Status at once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <type_traits>

#include "vibee/core/device/cuda_driver.h"
#include "vibee/core/device/device.h"

namespace vibee {

class CudaDevice {
 public:
  static Result<std::shared_ptr<CudaDevice>> open(std::shared_ptr<const CudaDriver> driver, int ordinal);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;

  const CudaDriver& driver() const { return *driver_; }
  const DeviceInfo& info() const { return info_; }
  bool lost() const { return lost_.load(std::memory_order_acquire); }

  struct Memory {
    uint64_t free = 0, total = 0;  ///< bytes
  };
  Result<Memory> memory();

  /// Calls a function of the driver in the context of the device, and leaves the caller's context as it was. `what`
  /// says what was asked for, sizes included; it is read when the call fails.
  ///
  /// A call can have done its work and fail: errors of earlier asynchronous work come out of any later call. What makes
  /// something therefore writes into an object that owns it already.
  template <class What, class... P>
  Status call(const CudaCall<P...>& function, const What& what, std::type_identity_t<P>... parameters) {
    if (lost()) return lost_status();
    const char* failed = function.symbol;
    const CudaResult r = in_context(failed, function, parameters...);
    if (r == CudaResult::success) return {};
    if constexpr (std::is_invocable_v<What>)
      return status(failed, what(), r);
    else
      return status(failed, what, r);
  }

  /// `call` for functions that have an answer beside success: true on success, false on `other`.
  template <class... P>
  Result<bool> accepts(CudaResult other, const CudaCall<P...>& function, std::type_identity_t<P>... parameters) {
    if (lost()) return lost_status();
    const char* failed = function.symbol;
    const CudaResult r = in_context(failed, function, parameters...);
    if (r == CudaResult::success || (r == other && failed == function.symbol)) return r == CudaResult::success;
    return status(failed, "", r);
  }

  /// What another library does on this thread, in the context of the device; leaves the caller's as it was.
  template <class Work>
  Status with_context(const Work& work) {
    if (lost()) return lost_status();
    Status done;
    const char* failed = "";
    const CudaResult r = in_context(failed, [&] {
      done = work();
      return CudaResult::success;
    });
    return r == CudaResult::success ? done : status(failed, "", r);
  }

  /// For destructors: calls the driver even where the device is lost, and keeps what went wrong for release_error().
  template <class... P>
  void release(const CudaCall<P...>& function, std::type_identity_t<P>... parameters) noexcept {
    // Even where the context cannot be made current: a handle says itself what it is of.
    const CudaResult push = driver_->context_push(context_), r = function(parameters...);
    if (push != CudaResult::success) note_release(driver_->context_push.symbol, push);
    if (r != CudaResult::success) note_release(function.symbol, r);
    if (push != CudaResult::success) return;
    CUctx_st* popped = nullptr;
    if (const CudaResult pop = driver_->context_pop(&popped); pop != CudaResult::success)
      note_release(driver_->context_pop.symbol, pop);
  }
  /// The first failure of a destructor since the last call of this, which could not say so itself.
  Status release_error();

  /// "cuda device 0 (NVIDIA H200, 9.0)".
  std::string label() const;

 private:
  CudaDevice() = default;
  /// On failure, `failed` is the symbol of the function that failed.
  template <class Function, class... P>
  CudaResult in_context(const char*& failed, const Function& function, P... parameters) {
    if (const CudaResult r = driver_->context_push(context_); r != CudaResult::success) {
      failed = driver_->context_push.symbol;
      return r;
    }
    CudaResult r = function(parameters...);
    CUctx_st* popped = nullptr;
    const CudaResult pop = driver_->context_pop(&popped);
    if (r == CudaResult::success && pop != CudaResult::success) {
      failed = driver_->context_pop.symbol;
      r = pop;
    }
    return r;
  }
  Status status(const char* symbol, std::string_view what, CudaResult result);
  Status lost_status();
  void note_release(const char* symbol, CudaResult result) noexcept;

  std::shared_ptr<const CudaDriver> driver_;
  DeviceInfo info_;
  int device_ = 0;
  CUctx_st* context_ = nullptr;
  std::atomic<bool> lost_ = false;
  std::mutex mutex_;  ///< of what follows
  Status lost_status_;
  const char* release_symbol_ = nullptr;
  CudaResult release_result_ = CudaResult::success;
};

}  // namespace vibee
