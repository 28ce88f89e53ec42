// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_module.h"

#include <algorithm>

#include "vibee/core/device/image_architectures.h"

namespace vibee {

Result<std::shared_ptr<CudaModule>> CudaModule::load(const std::shared_ptr<CudaDevice>& device,
                                                     const KernelImage& image) {
  std::shared_ptr<CudaModule> out(new CudaModule);
  out->file_ = image.file;
  if (image.fatbin.empty()) return error(Code::unsupported, "{}: has no code for devices; build with nvcc", image.file);
  out->module_ = CudaOwned<CUmod_st, &CudaDriver::module_unload>(device);
  const auto what = [&] {
    return fmt::format("kernels of {} ({} bytes for {})", image.file, image.fatbin.size(),
                       image_architectures(image.fatbin));
  };
  VIBEE_TRY(device->call(device->driver().module_load, what, out->module_.out(), image.fatbin.data()));
  return out;
}

Result<CudaKernel> CudaModule::kernel(std::string_view name) {
  CudaKernel out;
  out.module_ = shared_from_this(), out.name_ = name;
  CudaDevice& d = *device();
  const auto what = [&] { return fmt::format("{} of {}", name, file_); };
  VIBEE_TRY(d.call(d.driver().module_function, what, &out.function_, module_.get(), out.name_.c_str()));
  const auto attribute = [&](CudaFunctionAttribute which, int& value) {
    return d.call(d.driver().function_attribute, what, &value, which, out.function_);
  };
  VIBEE_TRY(attribute(CudaFunctionAttribute::max_threads, out.max_threads_));
  VIBEE_TRY(attribute(CudaFunctionAttribute::static_shared, out.static_shared_));
  VIBEE_TRY(attribute(CudaFunctionAttribute::local_bytes, out.local_bytes_));
  VIBEE_TRY(attribute(CudaFunctionAttribute::registers, out.registers_));
  constexpr int kAlways = 48 << 10;  // that a block may have without asking (CUDA programming guide, 7.0 and newer)
  out.dynamic_shared_ = uint64_t(std::max(0, kAlways - out.static_shared_));
  return out;
}

Status CudaKernel::launch(const CudaStream& stream, const LaunchShape& shape, void** args) {
  CudaDevice& d = *module_->device();
  const auto what = [&] {
    return fmt::format("{}, {} x {} x {} blocks of {} threads, {} + {} bytes of shared memory", name_, shape.grid[0],
                       shape.grid[1], shape.grid[2], shape.threads, static_shared_, shape.dynamic_shared);
  };
  constexpr uint32_t kMostX = (1u << 31) - 1, kMostYz = 65535;
  if (shape.grid[0] < 1 || shape.grid[1] < 1 || shape.grid[2] < 1 || shape.grid[0] > kMostX ||
      shape.grid[1] > kMostYz || shape.grid[2] > kMostYz || shape.threads < 1 || int64_t(shape.threads) > max_threads_)
    return error(Code::invalid,
                 "{}: {}: a grid has 1 to {} x {} x {} blocks, and blocks of this kernel 1 to {} threads", d.label(),
                 what(), kMostX, kMostYz, kMostYz, max_threads_);
  if (uint64_t(static_shared_) + shape.dynamic_shared > d.info().shared_per_block)
    return error(Code::unsupported, "{}: {}: a block of this device has at most {} bytes", d.label(), what(),
                 d.info().shared_per_block);
  if (shape.dynamic_shared > dynamic_shared_) {
    // All that a block may have: copies of a kernel share the attribute, and none may lower it for another.
    const uint64_t most = d.info().shared_per_block - uint64_t(static_shared_);
    VIBEE_TRY(d.call(d.driver().set_function_attribute, what, function_, CudaFunctionAttribute::max_dynamic_shared,
                     int(most)));
    dynamic_shared_ = most;
  }
  return d.call(d.driver().launch, what, function_, shape.grid[0], shape.grid[1], shape.grid[2], shape.threads, 1u, 1u,
                shape.dynamic_shared, stream.get(), args, nullptr);
}

}  // namespace vibee
