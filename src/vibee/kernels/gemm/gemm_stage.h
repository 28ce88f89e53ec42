// SPDX-License-Identifier: Apache-2.0
// How block programs that multiply take pieces of an operand, and in which order blocks take the tiles of D.
#pragma once

#include "vibee/core/device/block.h"

namespace vibee {

/// An operand as it is stored: `outer` (rows of D or columns) by depth, one of them along memory.
template <class T>
struct OperandView {
  const T* p;
  uint64_t from, ld;  // element that it begins at; elements from one stored row to the next
  uint32_t outer, depth;
  bool vectors;  // whether whole vectors lie at multiples of 16 bytes
};
template <class T>
VIBEE_BLOCK OperandView<T> operand_view(const void* p, uint64_t ld, uint64_t stride, uint32_t item, uint32_t outer,
                                        uint32_t depth) {
  const auto* typed = static_cast<const T*>(p);
  return {typed, item * stride, ld, outer, depth, begins_a_vector(typed) && (ld | stride) % Vector16<T>::kCount == 0};
}

/// The vector at (outer, depth) of an operand: where it lies, and how many of its elements exist.
struct VectorPlace {
  uint64_t at;
  uint32_t have;
};
template <bool kDepthAlong, class T>
VIBEE_BLOCK VectorPlace vector_place(const OperandView<T>& v, uint32_t outer, uint32_t depth) {
  const uint32_t row = kDepthAlong ? outer : depth, rows = kDepthAlong ? v.outer : v.depth;
  const uint32_t along = kDepthAlong ? depth : outer, length = kDepthAlong ? v.depth : v.outer;
  if (row >= rows || along >= length) return {0, 0};
  const uint32_t left = length - along;
  return {v.from + row * v.ld + along, left < Vector16<T>::kCount ? left : Vector16<T>::kCount};
}
/// Element by element, zeros behind what exists.
template <class Block, class T>
VIBEE_BLOCK Vector16<T> gather_vector(Block& b, const T* p, VectorPlace place) {
  Vector16<T> v;
  VIBEE_UNROLL
  for (uint32_t j = 0; j < Vector16<T>::kCount; ++j) v.at[j] = j < place.have ? b.load(p, place.at + j) : T{};
  return v;
}

VIBEE_BLOCK_AND_HOST constexpr uint32_t parts_of(uint32_t n, uint32_t each) { return n / each + (n % each != 0); }

/// Row and column of the tile that a block computes: tiles go down eight rows of tiles, then to the next column, so
/// that blocks that run together read few different rows and columns.
struct TilePlace {
  uint32_t row, column;
};
VIBEE_BLOCK_AND_HOST TilePlace tile_place(uint32_t index, uint32_t rows, uint32_t columns) {
  constexpr uint32_t kHigh = 8;
  const uint32_t band = index / (kHigh * columns), left = rows - band * kHigh, high = left < kHigh ? left : kHigh;
  const uint32_t inside = index - band * kHigh * columns;
  return {band * kHigh + inside % high, inside / high};
}

}  // namespace vibee
