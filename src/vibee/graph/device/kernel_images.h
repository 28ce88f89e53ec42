// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels that this binary carries.
#pragma once

#include <vector>

#include "vibee/core/device/kernel_image.h"

namespace vibee {

/// Of all folders; empty where the build had no nvcc.
std::vector<KernelImage> kernel_images();
/// What compiled them and for which devices, "nvcc 13.0.88, sm_80 sm_90a sm_100a", or why there are none, "none, there
/// was no nvcc".
std::string_view kernel_images_build();

}  // namespace vibee
