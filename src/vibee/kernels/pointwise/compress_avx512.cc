// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/compress_kernels.h"

namespace vibee {

constinit const CompressKernels compress_kernels_avx512 = kTable;

}  // namespace vibee
