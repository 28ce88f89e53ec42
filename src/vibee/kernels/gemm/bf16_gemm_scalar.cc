// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/bf16_kernel.h"

namespace vibee {

constinit const TileCode bf16_code_scalar = bf16_code<2>();

}  // namespace vibee
