// SPDX-License-Identifier: Apache-2.0
// What everything of one process on one device shares: the device, the kernels, and the stream in whose order all work
// is done.
#pragma once

#include "vibee/core/device/kernel_library.h"
#include "vibee/core/device/pinned_ring.h"

namespace vibee {

/// Of one thread at a time.
struct DeviceRuntime {
  std::shared_ptr<CudaDevice> device;
  std::unique_ptr<KernelLibrary> kernels;
  CudaStream stream;
  PinnedRing ring;  ///< for what is copied once: weights, constants

  static Result<std::shared_ptr<DeviceRuntime>> open(std::shared_ptr<const CudaDriver> driver, int ordinal,
                                                     std::span<const KernelImage> images);
};

}  // namespace vibee
