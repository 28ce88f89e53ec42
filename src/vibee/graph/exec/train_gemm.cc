// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/train_gemm.h"

#include <cmath>

namespace vibee {

void dense_product(const DenseOperand& a, const DenseOperand& b, uint32_t k, Range rows, Range columns, float* d,
                   uint64_t d_row, bool add) {
  for (uint32_t i = rows.begin; i < rows.end; ++i)
    for (uint32_t j = columns.begin; j < columns.end; ++j) {
      float* out = d + i * d_row + j;
      float sum = add ? *out : 0.0f;
      for (uint32_t l = 0; l < k; ++l)
        sum = std::fma(a.p[i * a.row + l * a.column], b.p[l * b.row + j * b.column], sum);
      *out = sum;
    }
}

}  // namespace vibee
