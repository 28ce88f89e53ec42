// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/round_operand_kernel.h"

namespace vibee {

constinit const RoundKernels round_kernels_scalar = kRoundKernels;

}  // namespace vibee
