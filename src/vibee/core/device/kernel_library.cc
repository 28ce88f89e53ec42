// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/kernel_library.h"

namespace vibee {

Result<std::unique_ptr<KernelLibrary>> KernelLibrary::load(const std::shared_ptr<CudaDevice>& device,
                                                           std::span<const KernelImage> images) {
  if (images.empty())
    return error(Code::unsupported, "{}: this build has no CUDA kernels; build with nvcc 12.8 or newer",
                 device->label());
  auto out = std::make_unique<KernelLibrary>();
  for (const KernelImage& image : images) {
    VIBEE_ASSIGN(auto module, CudaModule::load(device, image));
    out->modules_.push_back(std::move(module));
  }
  return out;
}

Result<CudaKernel*> KernelLibrary::find(std::string_view name) {
  if (const auto at = kernels_.find(name); at != kernels_.end()) return &at->second;
  for (const auto& module : modules_) {
    auto kernel = module->kernel(name);
    if (kernel.ok()) return &kernels_.emplace(name, std::move(*kernel)).first->second;
    if (kernel.status().code() != Code::not_found) return kernel.take_status();
  }
  return error(Code::not_found, "no image of this build has the kernel {}", name);
}

}  // namespace vibee
