// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/round_operand.h"

namespace vibee {

const SmallFloatKernels& small_float_kernels(Isa isa) {
  return isa >= Isa::avx512 ? small_float_kernels_avx512
         : isa == Isa::avx2 ? small_float_kernels_avx2
                            : small_float_kernels_scalar;
}

}  // namespace vibee
