// SPDX-License-Identifier: Apache-2.0
// What a thread's scratch of the backward pass holds (self_attention.h).
#pragma once

#include <cstdint>

namespace vibee {

/// Query vectors and keys of a block: its scores stay in the first-level cache.
inline constexpr uint32_t kBackwardBlock = 64;

/// Queries, their gradients and gradients of outputs [64][d], keys and values transposed [d][64], two blocks of scores,
/// two numbers a query vector; 16 floats that wide loads may touch.
constexpr uint64_t backward_scratch(uint32_t head_dim) {
  const uint64_t block = kBackwardBlock;
  return 4 * (5 * block * head_dim + 2 * block * block + 2 * block + 16);
}

}  // namespace vibee
