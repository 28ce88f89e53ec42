// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/kernel_times.h"

#include <algorithm>
#include <cmath>

namespace vibee {

Result<KernelTimes> KernelTimes::create(const std::shared_ptr<CudaDevice>& device, size_t most) {
  KernelTimes out;
  out.device_ = device;
  for (size_t i = 0; i <= most; ++i) {
    VIBEE_ASSIGN(CudaEvent event, CudaEvent::create(device, true));
    out.events_.push_back(std::move(event));
  }
  out.calls_.reserve(most);
  return out;
}

Status KernelTimes::begin(const CudaStream& stream) {
  calls_.clear(), untimed_ = 0;
  return events_[0].record(stream);
}

Status KernelTimes::mark(const CudaStream& stream, uint32_t call) {
  if (calls_.size() + 1 >= events_.size()) {
    ++untimed_;
    return {};
  }
  VIBEE_TRY(events_[calls_.size() + 1].record(stream));
  calls_.push_back(call);
  return {};
}

Result<std::vector<KernelTimes::Piece>> KernelTimes::collect() {
  std::vector<Piece> out;
  VIBEE_TRY(events_[calls_.size()].synchronize());
  uint64_t before = 0;
  for (size_t i = 0; i < calls_.size(); ++i) {
    VIBEE_ASSIGN(const double seconds, seconds_between(*device_, events_[0], events_[i + 1]));
    // A float of milliseconds loses steps of a nanosecond behind 16 ms: later ones are not to end before earlier ones.
    const uint64_t end = std::max(before, uint64_t(std::llround(seconds * 1e9)));
    out.push_back({calls_[i], before, end});
    before = end;
  }
  return out;
}

}  // namespace vibee
