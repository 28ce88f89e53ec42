// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/round_operand.h"

namespace vibee {

const RoundKernels& round_kernels(Isa isa) {
  return isa == Isa::avx512 ? round_kernels_avx512 : isa == Isa::avx2 ? round_kernels_avx2 : round_kernels_scalar;
}

}  // namespace vibee
