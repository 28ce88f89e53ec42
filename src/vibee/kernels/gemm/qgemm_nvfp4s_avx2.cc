// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/gemm/qgemm_avx2.h"

namespace vibee {

void qgemm_nvfp4s_avx2(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, uint32_t m,
                      float* out) {
  tile_dispatch<Format::nvfp4s, 6>(panel, k, group, g, row0, m, out);
}

}  // namespace vibee
