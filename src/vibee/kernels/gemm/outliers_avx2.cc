// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/outlier_kernel.h"

namespace vibee {

void add_column_avx2(const PanelColumn& column, const uint32_t* rows, const float* values, uint32_t n, float* tile) {
  add_any(column, rows, values, n, tile);
}

}  // namespace vibee
