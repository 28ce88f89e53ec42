// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/kernels/gemm/float_panel_gemm_block.h"

namespace vibee {
#include "vibee/kernels/gemm/float_panel_gemm_block.inc"
}  // namespace vibee
