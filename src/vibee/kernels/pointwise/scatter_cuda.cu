// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/kernels/pointwise/scatter_block.h"

namespace vibee {
#include "vibee/kernels/pointwise/scatter_block.inc"
}  // namespace vibee
