// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cutlass_kernel.h"

namespace vibee {

constinit const DenseCode cutlass_gemm_avx2 = {6, 1, 6, choose_tile<0, 6>, dense_pack, dense_pack_panels, dense_finish};

}  // namespace vibee
