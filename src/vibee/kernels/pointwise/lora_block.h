// SPDX-License-Identifier: Apache-2.0
// Block programs of adapters, a row a block.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/pointwise/lora_launch.h"

namespace vibee {

/// The rank that row `row` has; `adapter` is set where it is not 0.
template <class Block>
VIBEE_BLOCK uint32_t row_rank(Block& b, const LoraTable& table, uint32_t row, uint32_t& adapter) {
  const int32_t id = b.load(table.adapter, row);
  if (id < 0) return 0;
  adapter = uint32_t(id);
  return b.load(table.rank, adapter);
}

/// Half a warp an element of h: lane l takes every sixteenth k, then the tree of 8, 4, 2, 1.
template <class Block>
VIBEE_BLOCK void lora_down_block(Block& b, const LoraDownArgs& args) {
  const uint32_t row = b.block_x(), lane = b.lane() % kLoraLanes;
  const uint64_t x = uint64_t(row) * args.k;
  uint32_t adapter = 0;
  const uint32_t rank = row_rank(b, args.table, row, adapter);
  const float* const a = rank > 0 ? b.load(args.table.a, adapter) : nullptr;
  const float scale = rank > 0 ? b.load(args.table.scale, adapter) : 0.0f;
  for (uint32_t pair = b.warp() * 2; pair < args.width; pair += b.warps() * 2) {
    const uint32_t j = pair + b.lane() / kLoraLanes;
    float sum = 0;
    for (uint32_t k = lane; j < rank && k < args.k; k += kLoraLanes)
      sum = b.fma(b.load(args.x, x + k), b.load(a, uint64_t(j) * args.k + k), sum);
    for (uint32_t bits = kLoraLanes / 2; bits > 0; bits /= 2) sum = sum + b.shuffle_xor(sum, bits);
    if (lane == 0 && j < args.width) b.store(args.h, uint64_t(row) * args.width + j, j < rank ? scale * sum : 0.0f);
  }
}

template <class Block>
VIBEE_BLOCK void lora_up_block(Block& b, const LoraUpArgs& args) {
  const uint32_t row = b.block_x(), column = b.block_y() * b.threads() + b.thread();
  if (column >= args.n) return;
  uint32_t adapter = 0;
  const uint32_t rank = row_rank(b, args.table, row, adapter);
  const uint64_t h = uint64_t(row) * args.width, at = uint64_t(row) * args.n + column;
  float y = b.load(args.x, at);
  if (rank > 0) {
    const float* const w = b.load(args.table.b, adapter);
    float sum = 0;
    for (uint32_t j = 0; j < rank; ++j)
      sum = b.fma(b.load(args.h, h + j), b.load(w, uint64_t(j) * args.n + column), sum);
    y = y + sum;
  }
  b.store(args.y, at, y);
}

}  // namespace vibee
