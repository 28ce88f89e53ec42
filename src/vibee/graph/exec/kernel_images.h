// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels that this binary carries.
#pragma once

#include <vector>

#include "vibee/core/device/kernel_image.h"

namespace vibee {

/// Of all folders; empty where the build had no nvcc.
std::vector<KernelImage> kernel_images();
/// By what they were compiled for which devices, e.g. "nvcc 13.0.88, sm_80 sm_90a sm_100a"; empty where they were not.
std::string_view kernel_images_build();

}  // namespace vibee
