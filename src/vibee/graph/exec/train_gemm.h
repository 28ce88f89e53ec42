// SPDX-License-Identifier: Apache-2.0
// Dense products of training graphs, in the order fma_k (every element is one fma chain over ascending k) unless
// TrainOptions::products chose a library.
#pragma once

#include "vibee/graph/exec/train_plan.h"
#include "vibee/kernels/gemm/gemm_problem.h"

namespace vibee {

/// An operand: rows one behind the other, or the transpose of what lies there so, in f32, bf16 or f16.
struct DenseOperand {
  const void* p;
  uint64_t ld;
  bool transposed = false;
  Format element = Format::f32;
  DenseOperand transpose() const { return {p, ld, !transposed, element}; }
};

/// d[m][n] = a[m][k] b[k][n] by all threads of the step, each of which calls it: what it reads is whole before, what it
/// writes is whole behind the next barrier. `goes_on`: the chains begin with what d holds.
void dense_product(const TrainWorker& w, const DenseOperand& a, const DenseOperand& b, uint32_t m, uint32_t n,
                   uint32_t k, float* d, uint64_t d_row, bool goes_on = false);
/// Bytes that it takes of the plan's memory, for sizes of at most m, n and k.
uint64_t dense_workspace(uint32_t m, uint32_t n, uint32_t k, const TrainOptions& options);

/// A product a group: of rows, sum(groups) = m, each with a b of its own, one behind the other; or of depth,
/// sum(groups) = k, each with a d of its own. Products of the same plan may follow one another without a barrier.
void grouped_product(const TrainWorker& w, GemmGroups grouping, std::span<const uint32_t> groups, const DenseOperand& a,
                     const DenseOperand& b, uint32_t m, uint32_t n, uint32_t k, float* d, bool goes_on = false);
uint64_t grouped_workspace(GemmGroups grouping, uint32_t groups, uint32_t m, uint32_t n, uint32_t k,
                           const TrainOptions& options);

}  // namespace vibee
