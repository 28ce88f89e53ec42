// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

const PointwiseKernels& pointwise(Isa isa) {
  return isa == Isa::avx512 ? pointwise_avx512 : isa == Isa::avx2 ? pointwise_avx2 : pointwise_scalar;
}

}  // namespace vibee
