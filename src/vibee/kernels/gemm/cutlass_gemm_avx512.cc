// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cutlass_kernel.h"

namespace vibee {

constinit const DenseCode cutlass_gemm_avx512 = {14,          2, 28, choose_tile<14, 28>, dense_pack, dense_pack_panels,
                                                 dense_finish};

}  // namespace vibee
