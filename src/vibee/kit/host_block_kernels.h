// SPDX-License-Identifier: Apache-2.0
// Block kernels as the kernels of the host's driver: what runs on a device by the driver's functions runs in a test by
// the same functions, under the shim.
#pragma once

#include <map>

#include "vibee/kit/host_cuda_driver.h"
#include "vibee/kit/host_kernels.h"

namespace vibee {

/// HostCudaOptions::find, of all block kernels.
inline const HostFunction* find_host_function(std::string_view name) {
  static const std::map<std::string_view, HostFunction> functions = [] {
    std::map<std::string_view, HostFunction> all;
    for (const std::span<const HostKernel> table : host_kernels())
      for (const HostKernel& kernel : table)
        all[kernel.name] = {
            {kernel.argument_bytes}, [&kernel](const HostLaunch& launch, void** args) {
              std::vector<ShimMemory> memory;
              for (const std::span<std::byte>& block : launch.memory) memory.push_back({block.data(), block.size()});
              ShimLaunch shim{
                  launch.shape.grid, {launch.shape.threads, 1, 1}, launch.shape.dynamic_shared, memory, launch.seed};
              return kernel.run(shim, args);
            }};
    return all;
  }();
  const auto found = functions.find(name);
  return found == functions.end() ? nullptr : &found->second;
}

}  // namespace vibee
