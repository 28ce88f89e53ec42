// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/kernels/pointwise/cross_entropy_block.h"

namespace vibee {
#include "vibee/kernels/pointwise/cross_entropy_block.inc"
}  // namespace vibee
