// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/gradients.h"

namespace vibee {

const GradientKernels& gradient_kernels(Isa isa) {
  return isa >= Isa::avx512 ? gradient_kernels_avx512
         : isa == Isa::avx2 ? gradient_kernels_avx2
                            : gradient_kernels_scalar;
}

}  // namespace vibee
