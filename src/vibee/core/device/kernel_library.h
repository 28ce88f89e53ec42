// SPDX-License-Identifier: Apache-2.0
// All kernels of a binary on a device, by name.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "vibee/core/device/cuda_module.h"

namespace vibee {

/// Of one thread at a time.
class KernelLibrary {
 public:
  /// Loads every image; an error says which the device cannot run. Without images the error says so.
  static Result<std::unique_ptr<KernelLibrary>> load(const std::shared_ptr<CudaDevice>& device,
                                                     std::span<const KernelImage> images);
  /// Stays where it is as long as the library.
  Result<CudaKernel*> find(std::string_view name);

 private:
  std::vector<std::shared_ptr<CudaModule>> modules_;
  std::map<std::string, CudaKernel, std::less<>> kernels_;
};

}  // namespace vibee
