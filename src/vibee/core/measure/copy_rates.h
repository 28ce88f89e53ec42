// SPDX-License-Identifier: Apache-2.0
// How fast a device and the host copy to one another.
#pragma once

#include <memory>

#include "vibee/core/device/cuda_device.h"

namespace vibee {

struct CopyRates {
  double to_device = 0, to_host = 0;  ///< GB/s (1e9 bytes), medians
};

/// Copies `bytes` of pinned memory there and back, `repetitions` times after once unmeasured; times are the device's.
Result<CopyRates> copy_rates(std::shared_ptr<CudaDevice> device, size_t bytes, int repetitions);

}  // namespace vibee
