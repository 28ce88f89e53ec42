// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/measure/copy_rates.h"

#include <algorithm>
#include <vector>

#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/pinned_ring.h"
#include "vibee/core/measure/measure.h"

namespace vibee {

Result<CopyRates> copy_rates(std::shared_ptr<CudaDevice> device, size_t bytes, int repetitions) {
  const CudaDriver& driver = device->driver();
  VIBEE_ASSIGN(const auto pool, DevicePool::create(device, bytes));
  VIBEE_ASSIGN(const PinnedMemory pinned, PinnedMemory::create(device, bytes));
  VIBEE_ASSIGN(CudaStream stream, CudaStream::create(device));
  CudaEvent events[3];
  for (CudaEvent& event : events) {
    VIBEE_ASSIGN(event, CudaEvent::create(device, true));
  }
  std::vector<double> in, out;
  const auto once = [&](bool measured) -> Status {
    VIBEE_TRY(events[0].record(stream));
    VIBEE_TRY(device->call(driver.copy_in, "", pool->address(), pinned.data(), bytes, stream.get()));
    VIBEE_TRY(events[1].record(stream));
    VIBEE_TRY(device->call(driver.copy_out, "", pinned.data(), pool->address(), bytes, stream.get()));
    VIBEE_TRY(events[2].record(stream));
    VIBEE_TRY(events[2].synchronize());
    if (!measured) return {};
    VIBEE_ASSIGN(const double there, seconds_between(*device, events[0], events[1]));
    VIBEE_ASSIGN(const double back, seconds_between(*device, events[1], events[2]));
    in.push_back(there), out.push_back(back);
    return {};
  };
  std::fill_n(pinned.data(), bytes, std::byte{0});  // pages that are there
  Status status = once(false);
  for (int i = 0; i < repetitions && status.ok(); ++i) status = once(true);
  // Nothing may be under way when the memory goes.
  if (!status.ok()) device->release(driver.stream_synchronize, stream.get());
  VIBEE_TRY(status);
  return CopyRates{double(bytes) / median(in) / 1e9, double(bytes) / median(out) / 1e9};
}

}  // namespace vibee
