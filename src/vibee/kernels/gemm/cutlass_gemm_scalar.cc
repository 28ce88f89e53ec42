// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cutlass_kernel.h"

namespace vibee {

constinit const DenseCode cutlass_gemm_scalar = {4,           1, 4, choose_tile<0, 4>, dense_pack, dense_pack_panels,
                                                 dense_finish};

}  // namespace vibee
