// SPDX-License-Identifier: Apache-2.0
// Compiled kernels as they are in the binary: a fat binary for every *_cuda.cu, with code for sm_80, sm_90a and sm_100a
// (cmake/cuda.cmake). graph/device/kernel_images.h lists those of all folders; without nvcc there are none.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace vibee {

struct KernelImage {
  std::string_view file;              ///< e.g. kernels/pointwise/norm_cuda.cu
  std::span<const std::byte> fatbin;  ///< what cuLibraryLoadData and cuModuleLoadFatBinary take
};

}  // namespace vibee
