// SPDX-License-Identifier: Apache-2.0
// What an instruction set brings to products in 8-bit integers (int8_gemm.h).
#pragma once

#include "vibee/kernels/gemm/int8_gemm.h"

namespace vibee {

inline constexpr uint32_t kInt8MostRows = 32;  ///< of any tile

/// Where the sums of a tile go: d[m][16 * panels] = float(sum) * (a_scale[m] * b_scale[j]), `columns` of it.
struct Int8Finish {
  const float *a_scales, *b_scales;
  const int32_t* a_sums;  ///< of a row's codes
  float* d;
  uint64_t ld;
  uint32_t rows, columns;
};
/// A register tile: its own number of rows of packed a, as pack_rows leaves them, times adjacent panels of b, `panel`
/// bytes apart.
using Int8Tile = void (*)(const uint8_t* a, const uint8_t* b, uint64_t panel, uint32_t fours, const Int8Finish& to);

using Int8Pack = void (*)(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t flip, const float* largest,
                          uint8_t* codes, float* scales, int32_t* sums);

struct Int8Code {
  uint32_t rows, panels;  ///< of the largest tile
  uint8_t flip;           ///< of the bits of b's codes: 0x80 makes them unsigned with 128 added
  uint32_t unit;          ///< of a's depth, which is filled up with zeros
  Int8Tile (*tile)(uint32_t rows, uint32_t panels);
  /// The largest size of each of some rows: NaN where a number is not finite.
  void (*largest)(const ProductOperand& x, Range rows, float* out);
  /// Codes of rows first.. (`width` of them at most, as many as a panel has) -> [depth / 4][width][4], their scales and
  /// the sums of their codes (not asked for where null).
  Int8Pack pack;
  /// The same of a tile's rows of a, as the tile takes them.
  Int8Pack pack_rows;
  /// Before a thread's first tile of a product; null: nothing to be done.
  void (*begin)();
};

extern const Int8Code int8_code_scalar, int8_code_avx2, int8_code_avx512, int8_code_amx;
const Int8Code& int8_code(Isa isa);

}  // namespace vibee
