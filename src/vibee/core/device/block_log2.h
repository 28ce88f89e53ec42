// SPDX-License-Identifier: Apache-2.0
// log2 of base/math/log2.h for block programs, by the same operations in the same order: the CPU's bytes.
#pragma once

#include "vibee/core/device/block.h"

namespace vibee {

/// Of a positive, finite and normal double, as all positive floats are.
VIBEE_BLOCK double block_log2(double x) {
  const uint64_t bits = __builtin_bit_cast(uint64_t, x);
  int e = int(bits >> 52) - 1022;
  double m = __builtin_bit_cast(double, (bits & 0x000fffffffffffffull) | 0x3fe0000000000000ull);  // in [1/2, 1)
  if (m < 0.70710678118654752) m *= 2, --e;
  const double z = (m - 1) / (m + 1), square = z * z;
  double sum = 1.0 / 21;
  for (int i = 19; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  return e + 2 * 1.4426950408889634 * z * sum;
}

}  // namespace vibee
