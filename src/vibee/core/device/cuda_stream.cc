// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_stream.h"

namespace vibee {

Result<CudaEvent> CudaEvent::create(const std::shared_ptr<CudaDevice>& device, bool timed) {
  CudaEvent out;
  out.event_ = CudaOwned<CUevent_st, &CudaDriver::event_destroy>(device);
  VIBEE_TRY(device->call(device->driver().event_create, "", out.event_.out(), timed ? 0 : kCudaEventDisableTiming));
  return out;
}

Status CudaEvent::record(const CudaStream& stream) {
  CudaDevice& device = *event_.device();
  return device.call(device.driver().event_record, "", event_.get(), stream.get());
}

Status CudaEvent::synchronize() {
  CudaDevice& device = *event_.device();
  return device.call(device.driver().event_synchronize, "", event_.get());
}

Result<bool> CudaEvent::done() {
  CudaDevice& device = *event_.device();
  return device.accepts(CudaResult::not_ready, device.driver().event_query, event_.get());
}

Result<CudaStream> CudaStream::create(const std::shared_ptr<CudaDevice>& device) {
  CudaStream out;
  out.stream_ = CudaOwned<CUstream_st, &CudaDriver::stream_destroy>(device);
  VIBEE_TRY(device->call(device->driver().stream_create, "", out.stream_.out(), kCudaStreamNonBlocking));
  return out;
}

Status CudaStream::wait(const CudaEvent& event) {
  return device()->call(device()->driver().stream_wait, "", get(), event.get(), 0u);
}

Status CudaStream::synchronize() { return device()->call(device()->driver().stream_synchronize, "", get()); }

Result<bool> CudaStream::done() {
  return device()->accepts(CudaResult::not_ready, device()->driver().stream_query, get());
}

Result<double> seconds_between(CudaDevice& device, const CudaEvent& begin, const CudaEvent& end) {
  float milliseconds = 0;
  VIBEE_TRY(device.call(device.driver().event_elapsed, "", &milliseconds, begin.get(), end.get()));
  return double(milliseconds) / 1000;
}

}  // namespace vibee
