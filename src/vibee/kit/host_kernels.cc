// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/host_kernels.h"

namespace vibee {

// One for each <stem>_block.inc, in a source that cmake/cuda.cmake writes.
#define VIBEE_BLOCK_TABLE(stem) std::span<const HostKernel> host_kernels_##stem();
#include "vibee/block_tables.inc"
#undef VIBEE_BLOCK_TABLE

std::span<const std::span<const HostKernel>> host_kernels() {
  static const std::span<const HostKernel> kTables[] = {
#define VIBEE_BLOCK_TABLE(stem) host_kernels_##stem(),
#include "vibee/block_tables.inc"
#undef VIBEE_BLOCK_TABLE
  };
  return kTables;
}

const HostKernel* find_host_kernel(std::string_view name) {
  for (const std::span<const HostKernel> table : host_kernels())
    for (const HostKernel& kernel : table)
      if (name == kernel.name) return &kernel;
  return nullptr;
}

}  // namespace vibee
