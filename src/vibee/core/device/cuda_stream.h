// SPDX-License-Identifier: Apache-2.0
// Streams (work in order) and events (a place in that order, which others wait for, and a time).
#pragma once

#include <utility>

#include "vibee/core/device/cuda_device.h"

namespace vibee {

/// A handle of the driver that is given back by the function `Release` of its table. Move-only.
template <class Handle, auto Release>
class CudaOwned {
 public:
  CudaOwned() = default;
  explicit CudaOwned(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}
  CudaOwned(CudaOwned&& other) noexcept { *this = std::move(other); }
  CudaOwned& operator=(CudaOwned&& other) noexcept {
    std::swap(device_, other.device_), std::swap(handle_, other.handle_);
    return *this;
  }
  ~CudaOwned() { reset(); }
  void reset() {
    if (handle_) device_->release(device_->driver().*Release, std::exchange(handle_, nullptr));
  }
  Handle* get() const { return handle_; }
  /// Where a function of the driver writes the new handle.
  Handle** out() { return &handle_; }
  const std::shared_ptr<CudaDevice>& device() const { return device_; }

 private:
  std::shared_ptr<CudaDevice> device_;
  Handle* handle_ = nullptr;
};

class CudaStream;

class CudaEvent {
 public:
  CudaEvent() = default;
  /// `timed` events cost more; only between two of these is there a time.
  static Result<CudaEvent> create(const std::shared_ptr<CudaDevice>& device, bool timed = false);
  /// Is behind all that was given to the stream so far. Anew each time.
  Status record(const CudaStream& stream);
  /// Waits for it. At once where it was never recorded.
  Status synchronize();
  Result<bool> done();
  CUevent_st* get() const { return event_.get(); }

 private:
  CudaOwned<CUevent_st, &CudaDriver::event_destroy> event_;
};

class CudaStream {
 public:
  CudaStream() = default;
  static Result<CudaStream> create(const std::shared_ptr<CudaDevice>& device);
  /// What is given to this stream from now on waits for the event's last record.
  Status wait(const CudaEvent& event);
  Status synchronize();
  Result<bool> done();
  CUstream_st* get() const { return stream_.get(); }
  const std::shared_ptr<CudaDevice>& device() const { return stream_.device(); }

 private:
  CudaOwned<CUstream_st, &CudaDriver::stream_destroy> stream_;
};

/// Seconds from one timed event to another, both done; the driver's resolution is about half a microsecond.
Result<double> seconds_between(CudaDevice& device, const CudaEvent& begin, const CudaEvent& end);

}  // namespace vibee
