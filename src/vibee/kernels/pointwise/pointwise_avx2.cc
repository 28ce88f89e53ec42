// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/pointwise_kernels.h"

namespace vibee {

constinit const PointwiseKernels pointwise_avx2 = kTable;

}  // namespace vibee
