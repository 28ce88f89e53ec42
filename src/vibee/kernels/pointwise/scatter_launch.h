// SPDX-License-Identifier: Apache-2.0
// What the kernels of scatter_block.inc take and how they are launched: rows that go to the same place are added by
// one block in ascending order (scatter_order.h), so there are no atomics, and the bytes are the CPU's.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// out[ids[i]] = the sum of x[rows[begins[i]]] to x[rows[begins[i + 1] - 1]], of n each. What no id names stays as it
/// is: scatter clears it before.
struct ScatterArgs {
  const uint32_t* ids;
  const uint32_t* begins;
  const uint32_t* rows;
  const float* x;
  float* out;
  uint32_t n;
};

/// A thread a column of an id.
constexpr LaunchShape scatter_launch(uint32_t ids, uint32_t n) {
  const uint32_t threads = threads_for(n, 128);
  return {{ids, (n + threads - 1) / threads, 1}, threads, 0};
}

}  // namespace vibee
