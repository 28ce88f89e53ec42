// SPDX-License-Identifier: Apache-2.0
// What the kernels of norm_gradients_block.inc take and how they are launched; everything is f32. A gradient towards
// weights is a sum over rows: chains over kRowsEach ascending rows, then a chain over their sums (column_sum), so it is
// the same for every launch.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// rms_norm_dx, layer_norm_dx: g is the gradient of the norm's result, out that of x. Launched by norm_launch.
struct NormDxArgs {
  const float* x;
  const float* weight;
  const float* g;
  float* out;
  uint32_t n;
  float eps;
};

/// statistics[r] = what a norm takes off row r (0 for rms_norm), what it multiplies by. Launched by norm_launch.
struct NormStatisticsArgs {
  const float* x;
  float* statistics;
  uint32_t n;
  float eps;
};

constexpr uint32_t kRowsEach = 64;
/// Sums over groups of kRowsEach rows: out[group][column], of rows of n. norm_dw sums g * (x - mean) * scale,
/// column_sum g itself.
struct ColumnArgs {
  const float* x;           // norm_dw
  const float* statistics;  // norm_dw
  const float* g;
  float* out;
  uint32_t rows, n;
};
constexpr uint32_t row_groups(uint32_t rows) { return (rows + kRowsEach - 1) / kRowsEach; }
constexpr LaunchShape column_launch(uint32_t rows, uint32_t n) {
  return {{(n + 127) / 128, row_groups(rows), 1}, 128, 0};
}

}  // namespace vibee
