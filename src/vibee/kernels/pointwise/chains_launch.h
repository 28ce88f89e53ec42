// SPDX-License-Identifier: Apache-2.0
// What the kernels of chains_block.inc take and how they are launched: a number of the result is one chain of additions
// (or comparisons) in ascending order, as the interpreter and the CPU have it, so its bytes are theirs. A grid of no
// blocks is not to be launched.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

constexpr uint32_t kReduceDims = 5;

/// Dimensions of an array that a reduction goes over, the last the fastest; strides in elements.
struct ReduceDims {
  uint32_t count = 0, size[kReduceDims] = {};
  uint64_t stride[kReduceDims] = {};
};
/// sum, reduce_max, sum_to: result i, of `results`, takes the `terms` elements that `reduced` has at the i-th place of
/// `kept`, in ascending order, in double. NaN is never the largest; of no terms there are 0 and -infinity.
struct ReduceArgs {
  const float* x = nullptr;
  float* out = nullptr;
  uint32_t results = 1, terms = 1;
  ReduceDims kept, reduced;
  uint32_t largest = 0;  ///< 1: the largest element, 0: their sum
};

/// Numbered as Pooling (pointwise.h), which nvcc does not read.
enum class PoolRule : uint32_t { mean, max, cls, last };
/// Row s of out [sequences][n] is that of x's rows first[s] .. first[s] + rows[s], of which there is one at least.
struct PoolRowsArgs {
  const void* x;
  const uint32_t *first, *rows;
  float* out;
  uint32_t n;
  PoolRule rule;
};

constexpr uint32_t kReduceThreads = 128, kPoolThreads = 256;

constexpr LaunchShape reduce_launch(uint32_t results) {
  const uint32_t threads = threads_for(results, kReduceThreads);
  return {{results / threads + (results % threads != 0), 1, 1}, threads, 0};
}
constexpr LaunchShape pool_rows_launch(uint32_t sequences, uint32_t n) {
  const uint32_t threads = threads_for(n, kPoolThreads);
  return {{sequences, (n + threads - 1) / threads, 1}, threads, 0};
}

/// x of `sizes` becomes out of the sizes `to`, both of at most kReduceDims dimensions: what is 1 there is reduced.
constexpr ReduceArgs reduce_to(const float* x, const uint32_t* sizes, float* out, const uint32_t* to, uint32_t dims,
                               bool largest) {
  ReduceArgs args;
  args.x = x, args.out = out, args.largest = largest;
  uint64_t strides[kReduceDims] = {};
  for (uint64_t d = dims, stride = 1; d-- > 0; stride *= sizes[d]) strides[d] = stride;
  for (uint32_t d = 0; d < dims; ++d) {
    const bool keeps = to[d] == sizes[d];
    ReduceDims& list = keeps ? args.kept : args.reduced;
    (keeps ? args.results : args.terms) *= sizes[d];
    list.size[list.count] = sizes[d];
    list.stride[list.count++] = strides[d];
  }
  return args;
}
/// The sum, or the largest element, of each row of n.
constexpr ReduceArgs reduce_rows(const float* x, float* out, uint32_t rows, uint32_t n, bool largest) {
  ReduceArgs args;
  args.x = x, args.out = out, args.results = rows, args.terms = n, args.largest = largest;
  args.kept = {1, {rows}, {n}};
  args.reduced = {1, {n}, {1}};
  return args;
}

}  // namespace vibee
