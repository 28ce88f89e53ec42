// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/kernels/gemm/packed_grouped_block.h"

#undef VIBEE_BLOCK_BOUNDS
#define VIBEE_BLOCK_BOUNDS(threads) threads, 1  // within what it gives by itself for sm_100a, bytes would be spilled

namespace vibee {
#include "vibee/kernels/gemm/packed_grouped_block.inc"
}  // namespace vibee
