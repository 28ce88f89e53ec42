// SPDX-License-Identifier: Apache-2.0
// What the kernels of products by warpgroups take (wgmma_gemm_block.inc); wgmma_gemm_shape.h says how they are
// launched.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/gemm/gemm_launch.h"

namespace vibee {

/// A is stored [m, k] and B [n, k]; the maps' boxes are a tile's rows (columns) by kWgmmaDepth.
struct WgmmaGemmArgs {
  TensorMap a, b;
  GemmArgs gemm;  ///< sizes, D and the epilogue; one item, no scales of 8-bit operands
  /// Where the depth's parts are blocks of their own: sums of each, [depth_parts][m][n], and a counter for each 16 rows
  /// of a tile, zeros before and behind a launch.
  float* parts = nullptr;
  uint32_t* arrived = nullptr;
  /// The depth is summed in so many parts, one behind the other, and these then; so bytes do not depend on whether they
  /// are blocks of their own.
  uint32_t depth_parts = 1;
  uint32_t stages = 2;  ///< of shared memory
};

}  // namespace vibee
