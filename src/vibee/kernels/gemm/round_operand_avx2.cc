// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/round_operand_kernel.h"

namespace vibee {

constinit const SmallFloatKernels small_float_kernels_avx2 = kSmallFloatKernels;

}  // namespace vibee
