// SPDX-License-Identifier: Apache-2.0
// What the kernels of elementwise_block.inc take and how they are launched: a thread for every eight elements. Arrays
// have the types of the kernel's name; in place allowed. A grid of no blocks is not to be launched.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// out[i] = f(x[i]); `by`: the factor of scale, the cap of soft_cap.
struct UnaryArgs {
  const void* x;
  void* out;
  uint64_t n;
  float by;
};

/// Which element of an operand element i of the result reads: (i / each) % count. A whole array has each 1 and count n,
/// a vector along columns (a bias) each 1 and count columns, one along rows each columns and count rows.
struct OperandSpread {
  uint64_t each, count;
};

/// out[i] = f(a[...], b[...]).
struct BinaryArgs {
  const void* a;
  const void* b;
  void* out;
  uint64_t n;
  OperandSpread spread_a, spread_b;
};

/// out[i] = g[i] * f'(x[i]); for gated units out[i] = f(x[i]) * g[i].
struct PairArgs {
  const void* x;
  const void* g;
  void* out;
  uint64_t n;
};

constexpr uint32_t kElementwiseThreads = 256;
constexpr LaunchShape elementwise_launch(uint64_t n) {
  return {{uint32_t((pieces(n) + kElementwiseThreads - 1) / kElementwiseThreads), 1, 1}, kElementwiseThreads, 0};
}

}  // namespace vibee
