// SPDX-License-Identifier: Apache-2.0
// How memory-bound block programs read and write: eight elements a thread as floats, in whole vectors of 16 bytes where
// they are aligned, element by element where they are not and behind the end.
#pragma once

#include "vibee/core/device/block.h"

namespace vibee {

constexpr uint32_t kPiece = 8;
struct Piece {
  float at[kPiece];
};
VIBEE_BLOCK_AND_HOST constexpr uint64_t pieces(uint64_t n) { return (n + kPiece - 1) / kPiece; }

/// Elements [i, i + 8) of p, of which `left` exist; zeros stand for the others. `aligned`: p + i is a multiple of 16
/// bytes.
template <class Block, class T>
VIBEE_BLOCK Piece load_piece(Block& b, const T* p, uint64_t i, uint64_t left, bool aligned) {
  constexpr uint32_t kEach = Vector16<T>::kCount;
  Piece piece;
  if (aligned && left >= kPiece) {
    for (uint32_t v = 0; v < kPiece; v += kEach) {
      const Vector16<T> vector = b.load16(p, i + v);
      for (uint32_t j = 0; j < kEach; ++j) piece.at[v + j] = b.to_float(vector.at[j]);
    }
    return piece;
  }
  for (uint32_t j = 0; j < kPiece; ++j) piece.at[j] = j < left ? b.to_float(b.load(p, i + j)) : 0.0f;
  return piece;
}

template <class Block, class T>
VIBEE_BLOCK void store_piece(Block& b, T* p, uint64_t i, uint64_t left, bool aligned, const Piece& piece) {
  constexpr uint32_t kEach = Vector16<T>::kCount;
  if (aligned && left >= kPiece) {
    for (uint32_t v = 0; v < kPiece; v += kEach) {
      Vector16<T> vector;
      for (uint32_t j = 0; j < kEach; ++j) vector.at[j] = b.from_float(piece.at[v + j], T{});
      b.store16(p, i + v, vector);
    }
    return;
  }
  for (uint32_t j = 0; j < kPiece; ++j)
    if (j < left) b.store(p, i + j, b.from_float(piece.at[j], T{}));
}

}  // namespace vibee
