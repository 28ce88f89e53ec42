// SPDX-License-Identifier: Apache-2.0
// 2^x and tanh of base/math/exp2.h for block programs, by the same operations in the same order: the CPU's bytes.
#pragma once

#include "vibee/base/math/exp2.h"
#include "vibee/core/device/block.h"

namespace vibee {

/// 2^x. Below -126 the result is 0, above 127 it is infinity; NaN stays NaN.
template <class Block>
VIBEE_BLOCK float block_exp2(Block& b, float x) {
  constexpr float k0 = kExp2[0], k1 = kExp2[1], k2 = kExp2[2], k3 = kExp2[3], k4 = kExp2[4], k5 = kExp2[5],
                  k6 = kExp2[6];
  constexpr float kWhole = 0x1.8p23f;  // what is added to it has no digits behind the point: rounds to nearest even
  const float low = x < -126.0f ? -126.0f : x, inside = low > 127.0f ? 127.0f : low;
  const float n = (inside + kWhole) - kWhole, f = inside - n;
  float p = b.fma(k6, f, k5);
  p = b.fma(p, f, k4);
  p = b.fma(p, f, k3);
  p = b.fma(p, f, k2);
  p = b.fma(p, f, k1);
  p = b.fma(p, f, k0);
  p = p * __builtin_bit_cast(float, (n == n ? uint32_t(int32_t(n) + 127) : 0u) << 23);
  if (x < -126.0f) return 0.0f;
  return x > 127.0f ? __builtin_bit_cast(float, 0x7f800000u) : p;
}

/// 1 - 2 / (e^2x + 1).
template <class Block>
VIBEE_BLOCK float block_tanh(Block& b, float x) {
  constexpr float kLog2 = kLog2E;
  return 1.0f - 2.0f / (block_exp2(b, 2.0f * x * kLog2) + 1.0f);
}

}  // namespace vibee
