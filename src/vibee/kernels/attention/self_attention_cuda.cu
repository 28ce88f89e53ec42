// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/kernels/attention/self_attention_block.h"

namespace vibee {
#include "vibee/kernels/attention/self_attention_block.inc"
}  // namespace vibee
