// SPDX-License-Identifier: Apache-2.0
// What the kernels of attention_block.inc take and how they are launched. The arithmetic is that of attention.h: splits
// of 256 absolute positions, each leaves a part (m, l, o) of a row and head, m in log2; attention_fold merges a row's
// parts left to right. So the bytes of a row do not depend on the rows beside it, on chunks, or on which block computes
// what, as long as one of the two kinds of split kernels computes all rows:
//
//   attention_split     sums of f32 by fma; the bytes of the CPU's kernels. Tiles of kVectorTile query vectors.
//   attention_product   16-bit pages by mma.sync, queries and weights rounded to halves (queries are below 65504);
//                       tiles of kProductTile query vectors. v1691, v1692 (Dao et al. 2023; Ye et al. 2025).
//
// Pages are those of batch.h; every head of one begins at a multiple of 16 bytes.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kernels/attention/batch.h"

namespace vibee {

constexpr uint32_t kVectorTile = 8, kProductTile = 64;

/// A tile of rows of one sequence and heads that share a KV head, over one split; a block computes it.
struct SplitItem {
  uint32_t row, rows;    ///< rows of the batch; rows * heads is at most a tile
  uint32_t last;         ///< last key that the first of them sees
  uint32_t pages;        ///< where the sequence's pages begin in the table
  uint32_t head, heads;  ///< query heads
  uint32_t split;
};

struct AttentionArgs {
  const void* q;            ///< [row][heads][head_dim]
  const unsigned char* kv;  ///< this layer's share of page 0
  const uint32_t* pages;    ///< all sequences' tables of pages
  const SplitItem* items;
  const uint32_t* row_parts;  ///< [row]: index of the part of its first visible split
  float* part_sums;           ///< [part][heads][2]: m, l
  float* part_values;         ///< [part][heads][head_dim]: o
  uint64_t page_bytes;
  uint32_t heads, kv_heads, head_dim, window;
  uint32_t causal;  ///< 1, or 0: rows of a sequence see the same keys
  float scale, soft_cap;
};

/// A block an item.
constexpr LaunchShape attention_split_launch(uint32_t items) { return {{items, 1, 1}, 256, 0}; }

/// Head dimensions as attention_product keeps them: a multiple of 16 for the products, and of rows of shared memory so
/// that the eight of a matrix lie in different banks.
VIBEE_BLOCK_AND_HOST constexpr uint32_t product_depth(uint32_t head_dim) { return (head_dim + 15) / 16 * 16; }
VIBEE_BLOCK_AND_HOST constexpr uint32_t product_stride(uint32_t head_dim) { return product_depth(head_dim) + 8; }
/// Keys that are staged at once; there are two stages.
constexpr uint32_t kStageKeys = 64;
/// The kernel whose name ends in 64, 128 or 256, the least that is not below head_dim.
constexpr LaunchShape attention_product_launch(uint32_t items, uint32_t head_dim) {
  const uint32_t stage = kStageKeys * (product_depth(head_dim) + product_stride(head_dim));
  return {{items, 1, 1}, 128, 2 * (kProductTile * product_stride(head_dim) + 2 * stage)};
}

/// out[row][head][head_dim] = the row's parts merged, o / l; zeros of rows without parts.
struct AttentionFoldArgs {
  const uint32_t* row_parts;  ///< [row + 1]
  const float* part_sums;
  const float* part_values;
  void* out;
  uint32_t rows, heads, head_dim;
};
/// A warp a row and head.
constexpr LaunchShape attention_fold_launch(uint32_t rows, uint32_t heads) {
  return {{(rows * heads + 3) / 4, 1, 1}, 128, 0};
}

/// Writes rows [row][kv_heads][head_dim] of keys and values to places[row] = page * kPageTokens + lane. Pages of q8_0
/// have the CPU's bytes, but where elements are no numbers.
struct KvAppendArgs {
  const void* keys;
  const void* values;
  unsigned char* kv;  ///< this layer's share of page 0
  const uint32_t* places;
  uint64_t page_bytes;
  uint32_t kv_heads, head_dim;
};
/// A block a row.
constexpr LaunchShape kv_append_launch(uint32_t rows, uint32_t kv_heads, uint32_t head_dim) {
  return {{rows, 1, 1}, threads_for(uint64_t(kv_heads) * head_dim, 256), 0};
}

}  // namespace vibee
