// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/qgemm_avx2.h"

namespace vibee {

VIBEE_QGEMM_AVX2(nvfp4s)

}  // namespace vibee
