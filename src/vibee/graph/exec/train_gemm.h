// SPDX-License-Identifier: Apache-2.0
// Dense products of training graphs, in the order fma_k: every element is one fma chain over ascending k.
#pragma once

#include <cstdint>

#include "vibee/base/thread/team.h"

namespace vibee {

/// An operand whose element (i, j) lies at p[i * row + j * column].
struct DenseOperand {
  const float* p;
  uint64_t row, column;
};

/// Rows x columns of d[m][n] = a[m][k] b[k][n]; with `add` the chains begin with what d holds.
void dense_product(const DenseOperand& a, const DenseOperand& b, uint32_t k, Range rows, Range columns, float* d,
                   uint64_t d_row, bool add = false);

}  // namespace vibee
