// SPDX-License-Identifier: Apache-2.0
// What the kernels of probe_block.inc take and how they are launched.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// c[16][8] = a[16][k] times b, which is [8][k] for kernels whose name ends in t (multiplied by its transpose) and
/// [k][8] for the others. k is a multiple of 32 bytes of a row, and not 0. c is f32, of s8 s32.
struct ProbeProductArgs {
  const void* a;
  const void* b;
  void* c;
  uint32_t k;
};
constexpr LaunchShape probe_product_launch() { return {{1, 1, 1}, 32, 1024}; }

/// out[thread][5]: a shuffle from lane 3, by xor 5, from 4 above, the ballot of lanes that 3 divides, a sum over the
/// block by shared atomics. counters[3]: the number of threads, the largest thread, who was first (1). sums[1]: a
/// quarter a thread.
struct ProbeExchangeArgs {
  uint32_t* out;
  uint32_t* counters;
  float* sums;
};
constexpr LaunchShape probe_exchange_launch(uint32_t blocks) { return {{blocks, 1, 1}, 128, 0}; }

}  // namespace vibee
