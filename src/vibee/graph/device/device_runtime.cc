// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/device/device_runtime.h"

namespace vibee {

Result<std::shared_ptr<DeviceRuntime>> DeviceRuntime::open(std::shared_ptr<const CudaDriver> driver, int ordinal,
                                                           std::span<const KernelImage> images) {
  constexpr size_t kPieceBytes = size_t(4) << 20, kPieces = 4;
  auto out = std::make_shared<DeviceRuntime>();
  VIBEE_ASSIGN(out->device, CudaDevice::open(std::move(driver), ordinal));
  VIBEE_ASSIGN(out->kernels, KernelLibrary::load(out->device, images));
  VIBEE_ASSIGN(out->stream, CudaStream::create(out->device));
  VIBEE_ASSIGN(out->ring, PinnedRing::create(out->device, kPieceBytes, kPieces));
  return out;
}

}  // namespace vibee
