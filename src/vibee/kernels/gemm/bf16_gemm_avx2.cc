// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/bf16_kernel.h"

namespace vibee {

constinit const TileCode bf16_code_avx2 = bf16_code<3>();

}  // namespace vibee
