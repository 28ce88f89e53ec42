// SPDX-License-Identifier: Apache-2.0
// What an instruction set brings to products of operands that are packed before (int8_gemm.h, bf16_gemm.h), and the
// loops around it.
#pragma once

#include <span>

#include "vibee/base/thread/team.h"
#include "vibee/kernels/gemm/packed_panels.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {

/// Where the sums of a tile go: d[m][16 * panels], `columns` of it; those of integers times a_scale[m] * b_scale[j].
struct TileFinish {
  const float *a_scales, *b_scales;
  const int32_t* a_sums;  ///< of a row's codes
  float* d;
  uint64_t ld;
  uint32_t rows, columns;
  bool goes_on = false;  ///< sums of floats begin with what d holds
};
/// A register tile: its own number of rows of packed a, as pack_rows leaves them, times adjacent panels of b, `panel`
/// bytes apart.
using PackedTile = void (*)(const uint8_t* a, const uint8_t* b, uint64_t panel, uint32_t depth, const TileFinish& to);
/// Rows first.. of an operand (`width` of them at most, as many as a panel or a tile has), and of integers their scales
/// and the sums of their codes (not asked for where null). `flip`: of the bits of codes.
using PackRows = void (*)(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t flip, const float* largest,
                          uint8_t* codes, float* scales, int32_t* sums);

inline constexpr uint32_t kMostTileRows = 32;

struct TileCode {
  uint32_t rows, panels;  ///< of the largest tile
  uint32_t unit, bytes;   ///< a's depth is filled up with zeros to a multiple; bytes of an element of a
  uint8_t flip;           ///< of the bits of b's codes: 0x80 makes them unsigned with 128 added
  PackedTile (*tile)(uint32_t rows, uint32_t panels);
  /// The largest size of each of some rows: NaN where a number is not finite. Null: nobody asks.
  void (*largest)(const ProductOperand& x, Range rows, float* out);
  PackRows pack;       ///< a panel of b
  PackRows pack_rows;  ///< a tile's rows of a
  /// Around a thread's tiles of a product, with what `begin` returned; null: nothing to be done.
  uint32_t (*begin)();
  void (*end)(uint32_t begun);
};

/// Bytes that a thread needs to multiply by b of at most this depth.
uint64_t tile_workspace(const TileCode& code, uint32_t depth);
/// Some rows of d (from a multiple of TileCode::rows on, or all that are left) by one thread, which packs a tile by
/// tile.
void tile_product(const TileCode& code, const ProductOperand& a, const PackedPanels& b, Range rows, float* d,
                  uint64_t d_row, std::span<uint8_t> workspace, bool goes_on = false);

}  // namespace vibee
