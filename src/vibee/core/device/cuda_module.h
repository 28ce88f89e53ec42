// SPDX-License-Identifier: Apache-2.0
// Kernels of an embedded image, by name, on a device.
#pragma once

#include <string>
#include <string_view>

#include "vibee/core/device/cuda_stream.h"
#include "vibee/core/device/kernel_image.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

class CudaModule;

/// Keeps its module loaded.
class CudaKernel {
 public:
  CudaKernel() = default;
  /// `args`: a pointer to each parameter, read before this returns. More than 48 KiB of shared memory are asked for
  /// where they are needed.
  Status launch(const CudaStream& stream, const LaunchShape& shape, void** args);
  const std::string& name() const { return name_; }
  int registers() const { return registers_; }
  int local_bytes() const { return local_bytes_; }  ///< a thread; spilled registers among them
  int static_shared() const { return static_shared_; }
  int max_threads() const { return max_threads_; }  ///< of a block, with the kernel's registers

 private:
  friend class CudaModule;
  std::shared_ptr<CudaModule> module_;
  std::string name_;
  CUfunc_st* function_ = nullptr;
  int registers_ = 0, local_bytes_ = 0, static_shared_ = 0, max_threads_ = 0;
  uint64_t dynamic_shared_ = 0;  ///< that the function's attribute allows
};

class CudaModule : public std::enable_shared_from_this<CudaModule> {
 public:
  /// `unsupported` where the image has nothing for the device: says its capability and what the image has.
  static Result<std::shared_ptr<CudaModule>> load(const std::shared_ptr<CudaDevice>& device, const KernelImage& image);
  CudaModule(const CudaModule&) = delete;
  Result<CudaKernel> kernel(std::string_view name);
  const std::shared_ptr<CudaDevice>& device() const { return module_.device(); }

 private:
  CudaModule() = default;
  CudaOwned<CUmod_st, &CudaDriver::module_unload> module_;
  std::string file_;
};

}  // namespace vibee
