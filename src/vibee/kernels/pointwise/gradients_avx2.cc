// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/gradients_kernels.h"

namespace vibee {

constinit const GradientKernels gradient_kernels_avx2 = kTable;

}  // namespace vibee
