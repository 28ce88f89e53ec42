// SPDX-License-Identifier: Apache-2.0
// Reductions over a warp and over a block, in an order that only the size of the block decides: lanes by the tree of
// xor 16, 8, 4, 2, 1, then the warps' results by the same tree. Every thread gets the same bytes.
#pragma once

#include "vibee/core/device/block.h"

namespace vibee {

/// Elements of the shared memory that block_reduce takes.
constexpr uint32_t kReduceRoom = 32;

struct AddUp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a + b; }
};
/// NaN is larger than everything.
struct TakeLarger {
  VIBEE_BLOCK float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

template <class Block, class Combine>
VIBEE_BLOCK float warp_reduce(Block& b, float v, Combine combine) {
  for (uint32_t bits = kWarp / 2; bits > 0; bits /= 2) v = combine(v, b.shuffle_xor(v, bits));
  return v;
}

/// `room` has kReduceRoom floats and may be used again at once; `none` is the neutral element.
template <class Block, class Room, class Combine>
VIBEE_BLOCK float block_reduce(Block& b, Room room, float v, float none, Combine combine) {
  v = warp_reduce(b, v, combine);
  if (b.lane() == 0) b.store(room, b.warp(), v);
  b.sync();
  v = warp_reduce(b, b.lane() < b.warps() ? b.load(room, b.lane()) : none, combine);
  b.sync();
  return v;
}

template <class Block, class Room>
VIBEE_BLOCK float block_sum(Block& b, Room room, float v) {
  return block_reduce(b, room, v, 0.0f, AddUp{});
}

}  // namespace vibee
