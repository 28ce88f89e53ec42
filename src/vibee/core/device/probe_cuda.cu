// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_block.cuh"
#include "vibee/core/device/probe_block.h"

namespace vibee {
#include "vibee/core/device/probe_block.inc"
}  // namespace vibee
