// SPDX-License-Identifier: Apache-2.0
// What the kernels of cross_entropy_block.inc take and how they are launched: a block a row of a chunk, whose logits
// the kernels of gemm made and whose gradients these multiply again (graph/exec/train_loss.cc says the whole).
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// Row r of the chunk is row rows[r] of the step, whose target, factor, loss and sum are at that place. Where there is
/// no target (below 0 or not below n), loss, sum and slopes are zeros.
struct CrossEntropyArgs {
  float* logits;           ///< [chunk row][n]; where there is a bias or a cap, both are applied in place
  const float* bias;       ///< n, or null
  const uint32_t* rows;    ///< or null: r itself
  const int32_t* targets;  ///< [row]
  const float* factors;    ///< [row]
  float* losses;           ///< [row]: factor * (sum - logit of the target), or null
  float* sums;             ///< [row]: log of the sum of e^logit
  const float* by;         ///< one number: the gradient of the loss
  void* slopes;            ///< [chunk row][n]: gradient towards the logits before bias and cap, or null; may be logits
  uint32_t n;
  uint32_t known;  ///< 1: sums are read, not made, and there are no losses
  float cap;       ///< where above 0, logits are cap * tanh(x / cap)
};

constexpr LaunchShape cross_entropy_launch(uint32_t chunk_rows, uint32_t n) {
  return {{chunk_rows, 1, 1}, threads_for(pieces(n), 512), 0};
}

}  // namespace vibee
