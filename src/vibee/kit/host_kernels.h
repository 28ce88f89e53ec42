// SPDX-License-Identifier: Apache-2.0
// Every kernel of a <stem>_block.inc by the name of its __global__ function, run by the shim: what a driver finds in an
// image, a test finds here.
#pragma once

#include <cstring>
#include <span>
#include <string_view>

#include "vibee/kit/block_shim.h"

namespace vibee {

struct HostKernel {
  const char* name;
  size_t argument_bytes;
  /// `args` as cuLaunchKernel takes them: a pointer to each parameter, of which a block kernel has one.
  Status (*run)(ShimLaunch& launch, void** args);
};

/// nullptr where there is none of the name.
const HostKernel* find_host_kernel(std::string_view name);
/// All of them, a span a <stem>_block.inc.
std::span<const std::span<const HostKernel>> host_kernels();

template <class Args>
Status run_host_kernel(const ShimKernel& kernel, const ShimLaunch& launch, void** args,
                       void (*program)(ShimBlock&, const Args&)) {
  Args copy;
  std::memcpy(&copy, args[0], sizeof copy);
  return run_shim(kernel, launch, [&](ShimBlock& block) { program(block, copy); });
}

}  // namespace vibee

// A row of <stem>_block.inc, which namespace vibee includes, as a HostKernel.
#define VIBEE_HOST_KERNEL(name, heat, threads, shared, Args, program, ...)         \
  {#name, sizeof(Args), [](ShimLaunch& launch, void** args) {                      \
     return run_host_kernel<Args>({#name, threads, shared}, launch, args,          \
                                  &program<ShimBlock __VA_OPT__(, ) __VA_ARGS__>); \
   }},
