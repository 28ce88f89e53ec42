// SPDX-License-Identifier: Apache-2.0
// The weights of a low-rank adapter (LoRA; Hu et al. 2021): y = x W^T + scale (x A^T) B^T for each product that it
// adapts.
#pragma once

#include <cstdint>

namespace vibee {

/// What an adapter adds to one product of k columns and n rows; rank 0: nothing.
struct LoraWeights {
  const float* a = nullptr;  ///< [rank][k]
  const float* b = nullptr;  ///< [rank][n], B transposed
  uint32_t rank = 0;
  float scale = 0;
};

}  // namespace vibee
