// SPDX-License-Identifier: Apache-2.0
// What the kernels of norm_block.inc take and how they are launched. Rows are norm groups of n values one behind the
// other; a row has at least one value.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// rms_norm, layer_norm: x and out have the types of the kernel's name, weight and bias are f32. In place allowed.
struct NormArgs {
  const void* x;
  const float* weight;
  const float* bias;  // layer_norm
  void* out;
  uint32_t n;
  float eps;
};

/// A block a row.
constexpr LaunchShape norm_launch(uint32_t rows, uint32_t n) { return {{rows, 1, 1}, threads_for(pieces(n), 256), 0}; }

}  // namespace vibee
