// SPDX-License-Identifier: Apache-2.0
// What the kernels of rows_block.inc take and how they are launched: a block a row. A grid of no blocks is not to be
// launched.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// embed, gather, take_rows: row r of out is row ids[r] of a table of `count` rows of n. Rows of ids that the table
/// does not have are zeros: who makes ids checks them.
struct GatherArgs {
  const int32_t* ids;
  const void* table;
  void* out;
  uint32_t n, count;
};

/// Rows of n; in place allowed.
struct SoftmaxArgs {
  const void* x;
  void* out;
  uint32_t n;
};

/// out[r] = by * cos(positions[r] * frequencies[0 ..]), then the sines.
struct RopeTableArgs {
  const int32_t* positions;
  const double* frequencies;
  float* out;
  uint32_t pairs;
  double by;
};

/// Turns the heads of rows by rope_table's rows: (x[i], x[i + pairs]) of a head where split, else (x[2i], x[2i + 1]);
/// behind 2 * pairs a head stays as it is. `direction` is 1, or -1 for the inverse. In place allowed.
struct RopeArgs {
  const void* x;
  const float* table;
  void* out;
  uint32_t width, head_dim, pairs;
  uint32_t split;
  float direction;
};

constexpr LaunchShape gather_launch(uint32_t rows, uint32_t n) {
  return {{rows, 1, 1}, threads_for(pieces(n), 256), 0};
}
constexpr LaunchShape softmax_launch(uint32_t rows, uint32_t n) {
  return {{rows, 1, 1}, threads_for(pieces(n), 512), 0};
}
constexpr LaunchShape rope_table_launch(uint32_t rows, uint32_t pairs) {
  return {{rows, 1, 1}, threads_for(pairs, 128), 0};
}
constexpr LaunchShape rope_launch(uint32_t rows, uint32_t width) {
  return {{rows, 1, 1}, threads_for(pieces(width), 256), 0};
}

}  // namespace vibee
