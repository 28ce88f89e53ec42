// SPDX-License-Identifier: Apache-2.0
// What the kernels of self_attention_block.inc take and how they are launched: attention of a training step over packed
// documents (self_attention.h), after FlashAttention-2 (Dao 2023, algorithms 1 and 2) without atomics: gradients
// towards queries are a launch over tiles of query vectors, those towards keys and values one over tiles of keys.
//
// The heads of a row that share a KV head are its query vectors: vector v of a document and KV head is head v % group
// of row v / group. Tiles lie at multiples of their size in their document, and all keys and vectors of one are taken
// in ascending order, so the bytes of a document depend on nothing beside it. In the backward pass every element is one
// fma chain, with the CPU's bytes where sums and outputs are the same.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kernels/attention/attention_launch.h"

namespace vibee {

/// Rows begin to end of the step are a document; its query vectors, or keys, from `first` on are the tile's.
struct SelfAttentionTile {
  uint32_t begin, end, first;
};

struct SelfAttentionSizes {
  uint32_t heads, kv_heads, head_dim, window;
  float scale, soft_cap;
};

/// Arrays are of the type that kernels' names end in. Rows are [heads * head_dim], keys and values [kv_heads *
/// head_dim], sums [heads].
struct SelfAttentionArgs {
  const void *q, *k, *v;
  void* out;
  float* sums;
  const SelfAttentionTile* tiles;  ///< of query vectors
  SelfAttentionSizes sizes;
};

/// means[row][head] = out . g: what the gradient of a row's weights has in common.
struct SelfAttentionMeansArgs {
  const void *out, *g;
  float* means;
  uint32_t vectors, head_dim;
};

/// vibee_self_attention_dq writes dq and takes tiles of query vectors, _dkv writes dk and dv and takes tiles of keys.
struct SelfAttentionDxArgs {
  const void *q, *k, *v, *g;
  const float *sums, *means;
  void *dq, *dk, *dv;
  const SelfAttentionTile* tiles;
  SelfAttentionSizes sizes;
};

/// Vectors and keys of a tile; the kernels' names end in the largest head dimension, 64 or 256.
VIBEE_BLOCK_AND_HOST constexpr uint32_t self_attention_tile(uint32_t head_dim) { return head_dim <= 64 ? 64 : 32; }
constexpr uint32_t kSelfAttentionThreads = 256;
/// Floats from row to row of a tile in shared memory: rows that are read at once begin in different banks.
VIBEE_BLOCK_AND_HOST constexpr uint32_t self_attention_stride(uint32_t width) { return width + 4; }
/// Bytes of `operands` tiles of rows and `weights` of vectors by keys.
constexpr uint32_t self_attention_shared(uint32_t head_dim, uint32_t operands, uint32_t weights) {
  const uint32_t tile = self_attention_tile(head_dim);
  return 4 * tile * (operands * self_attention_stride(head_dim) + weights * self_attention_stride(tile));
}

constexpr LaunchShape self_attention_launch(uint32_t tiles, uint32_t kv_heads, uint32_t head_dim) {
  return {{tiles, kv_heads, 1}, kSelfAttentionThreads, self_attention_shared(head_dim, 3, 1)};
}
constexpr LaunchShape self_attention_dq_launch(uint32_t tiles, uint32_t kv_heads, uint32_t head_dim) {
  return {{tiles, kv_heads, 1}, kSelfAttentionThreads, self_attention_shared(head_dim, 4, 1)};
}
constexpr LaunchShape self_attention_dkv_launch(uint32_t tiles, uint32_t kv_heads, uint32_t head_dim) {
  return {{tiles, kv_heads, 1}, kSelfAttentionThreads, self_attention_shared(head_dim, 4, 2)};
}
/// Sixteen lanes a row and head.
constexpr LaunchShape self_attention_means_launch(uint32_t vectors) { return {{(vectors + 7) / 8, 1, 1}, 128, 0}; }

/// Kernels of self_attention_product_block.inc: 16-bit arrays at multiples of 16 bytes, products by mma.sync with sums
/// in f32, weights rounded to the arrays' type; tiles of 64. Their names end in the largest head dimension of a block,
/// 64 or 128; blocks of z have 128 dimensions of the output each.
constexpr uint32_t kSelfProductTile = 64;
VIBEE_BLOCK_AND_HOST constexpr uint32_t self_product_stages(uint32_t head_dim) { return head_dim <= 128 ? 2 : 1; }
/// Operands of the tile, and those that come in stages: 1 and 2, in the backward pass 2 and 2.
constexpr LaunchShape self_attention_product_launch(uint32_t tiles, uint32_t kv_heads, uint32_t head_dim,
                                                    uint32_t own) {
  const uint32_t rows = kSelfProductTile * (own + 2 * self_product_stages(head_dim));
  return {{tiles, kv_heads, (head_dim + 127) / 128}, 128, 2 * rows * product_stride(head_dim)};
}

}  // namespace vibee
