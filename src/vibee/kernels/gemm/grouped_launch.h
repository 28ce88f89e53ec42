// SPDX-License-Identifier: Apache-2.0
// What the kernels of grouped_block.inc take: products of rows by the experts that they chose. Which of them computes a
// problem says grouped_shape.h.
#pragma once

#include "vibee/kernels/gemm/gemm_launch.h"

namespace vibee {

/// Row p of D is row p / share of A by the weights of pair p's expert, with the epilogue of gemm_launch.h: share is k
/// of the k chosen where A has a row for all of them, 1 where A has a row a pair. B is stored [experts][n][k].
struct GroupedArgs {
  GemmArgs gemm;  ///< m: pairs; stride_b and stride_bias: from one expert to the next; stride_a and stride_d are 0
  uint32_t share = 1;
  uint32_t chosen = 1;           ///< of a route
  const float* route = nullptr;  ///< what the kernels read that stream weights
  // What those read that compute tiles.
  const uint32_t* tiles = nullptr;
  const uint32_t* pairs = nullptr;
};

}  // namespace vibee
