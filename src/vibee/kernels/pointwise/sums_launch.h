// SPDX-License-Identifier: Apache-2.0
// What the kernels of sums_block.inc take and how they are launched: sums of numbers or of their squares, in double.
// A block sums kSumEach elements, vibee_sum_parts what they found: one order, whatever the device.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

constexpr uint32_t kSumEach = 1 << 14, kSumThreads = 256;
constexpr uint64_t sum_parts(uint64_t n) { return (n + kSumEach - 1) / kSumEach; }

/// parts[block] = the sum of x[block * kSumEach ...], or of its squares: those of floats do not overflow.
struct SumArgs {
  const void* x;
  double* parts;
  uint64_t n;
};
constexpr LaunchShape sum_launch(uint64_t n) { return {{uint32_t(sum_parts(n)), 1, 1}, kSumThreads, 0}; }

/// out = the sum of n parts; rounded as well where that is wanted.
struct SumPartsArgs {
  const double* parts;
  double* out;
  float* rounded;  ///< or null
  uint64_t n;
};
constexpr LaunchShape sum_parts_launch() { return {{1, 1, 1}, kSumThreads, 0}; }

}  // namespace vibee
