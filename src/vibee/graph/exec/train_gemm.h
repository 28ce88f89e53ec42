// SPDX-License-Identifier: Apache-2.0
// Dense products of training graphs, in the order fma_k: every element is one fma chain over ascending k.
#pragma once

#include "vibee/graph/exec/train_plan.h"

namespace vibee {

/// An operand: rows one behind the other, or the transpose of what lies there so, in f32, bf16 or f16.
struct DenseOperand {
  const void* p;
  uint64_t ld;
  bool transposed = false;
  Format element = Format::f32;
  DenseOperand transpose() const { return {p, ld, !transposed, element}; }
  /// From a stored row on.
  DenseOperand from(uint64_t row) const {
    return {static_cast<const uint8_t*>(p) + row * ld * (element == Format::f32 ? 4 : 2), ld, transposed, element};
  }
};

/// d[m][n] = a[m][k] b[k][n] by all threads of the step, each of which calls it: what it reads is whole before, what it
/// writes is whole behind the next barrier. `goes_on`: the chains begin with what d holds.
void dense_product(const TrainWorker& w, const DenseOperand& a, const DenseOperand& b, uint32_t m, uint32_t n,
                   uint32_t k, float* d, uint64_t d_row, bool goes_on = false);
/// Bytes that it takes of the plan's memory, for sizes of at most m, n and k.
uint64_t dense_workspace(uint32_t m, uint32_t n, uint32_t k, const TrainOptions& options);

/// A row of it by the calling thread: d[n] = a[k] b[k][n], columns of it; b in f32.
void row_product(const float* a, const DenseOperand& b, uint32_t k, Range columns, float* d, bool goes_on = false);

}  // namespace vibee
