// SPDX-License-Identifier: Apache-2.0
// Two by two tiles of 16 rows and 16 columns, 32 k at once (AMX: TDPBF16PS). A tile of a has its rows one behind the
// other, [rows / 16][depth / 32][16][32]; a panel of b has pairs of k, [depth / 2][16][2]. Behind the depth are zeros.
#include "vibee/kernels/gemm/bf16_code.h"
#include "vibee/kernels/gemm/load_numbers.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = 32, kDepth = kBf16Block, kTileBytes = 1024;
static_assert(kRows <= kMostTileRows);

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShapes kShapes;
uint32_t begin() {
  _tile_loadconfig(&kShapes);
  return 0;
}

/// kHalves of 16 rows times kPanels.
template <uint32_t kHalves, uint32_t kPanels>
void tile(const uint8_t* a, const uint8_t* b, uint64_t panel, uint32_t depth, const TileFinish& to) {
  const uint64_t bytes = uint64_t(depth + kDepth - 1) / kDepth * kTileBytes;
  const uint8_t* const second = a + bytes;
  alignas(64) float sums[kHalves][kPanels][16][16];
  if (to.goes_on) {
    for (uint32_t m = 0; m < 16 * kHalves; ++m)
      for (uint32_t p = 0; p < kPanels; ++p) {
        const int left = m < to.rows ? int(to.columns) - int(16 * p) : 0;
        v_store(sums[m / 16][p][m % 16], left > 0 ? v_load_n(to.d + m * to.ld + 16 * p, left) : v_zero());
      }
    asm volatile("" ::: "memory");  // GCC's loads of tiles do not say that they read memory
    _tile_loadd(0, sums[0][0], 64);
    if constexpr (kPanels == 2) _tile_loadd(1, sums[0][1], 64);
    if constexpr (kHalves == 2) _tile_loadd(2, sums[1][0], 64);
    if constexpr (kHalves == 2 && kPanels == 2) _tile_loadd(3, sums[1][1], 64);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (uint64_t at = 0; at < bytes; at += kTileBytes) {
    _tile_loadd(4, a + at, 64);
    _tile_loadd(6, b + at, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, b + panel + at, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kHalves == 2) {
      _tile_loadd(5, second + at, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kPanels == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0][0], 64);
  if constexpr (kPanels == 2) _tile_stored(1, sums[0][1], 64);
  if constexpr (kHalves == 2) _tile_stored(2, sums[1][0], 64);
  if constexpr (kHalves == 2 && kPanels == 2) _tile_stored(3, sums[1][1], 64);
  for (uint32_t m = 0; m < to.rows; ++m)
    for (uint32_t p = 0; p < kPanels; ++p)
      v_store_n(to.d + m * to.ld + 16 * p, v_load(sums[m / 16][p][m % 16]), int(to.columns) - int(16 * p));
}
PackedTile choose(uint32_t rows, uint32_t panels) {
  if (rows > 16) return panels == 2 ? tile<2, 2> : tile<2, 1>;
  return panels == 2 ? tile<1, 2> : tile<1, 1>;
}

/// 32 numbers of sixteen stored rows or columns as pairs along the depth, each of sixteen beside the others.
struct Pairs {
  alignas(64) uint32_t pair[16][16];
  /// Depth runs across the stored rows: `n` numbers beside each other, `depth` rows.
  void across(const ProductOperand& x, uint32_t first, uint32_t n, uint32_t k, uint32_t depth) {
    for (uint32_t i = 0; i < 16; ++i) {
      uint16_t two[2][16] = {};
      for (uint32_t j = 0; j < 2 && 2 * i + j < depth; ++j)
        v_store_bf16(two[j], load_some(x.element, x.p, (k + 2 * i + j) * x.ld + first, n));
      for (uint32_t c = 0; c < 16; ++c) pair[i][c] = two[0][c] | uint32_t(two[1][c]) << 16;
    }
  }
  void turn() {
    for (uint32_t i = 0; i < 16; ++i)
      for (uint32_t j = 0; j < i; ++j) {
        const uint32_t other = pair[i][j];
        pair[i][j] = pair[j][i];
        pair[j][i] = other;
      }
  }
};
/// 32 numbers of a stored row.
inline void row_of(const ProductOperand& x, uint32_t row, uint32_t k, void* to) {
  uint16_t numbers[32] = {};
  const uint32_t left = x.depth - k;
  v_store_bf16(numbers, load_some(x.element, x.p, row * x.ld + k, left));
  if (left > 16) v_store_bf16(numbers + 16, load_some(x.element, x.p, row * x.ld + k + 16, left - 16));
  std::memcpy(to, numbers, 64);
}

/// Sixteen rows (fewer at the end), 32 k behind 32 k: as rows, or as pairs of k.
template <bool kAsRows>
void pack_sixteen(const ProductOperand& x, uint32_t first, uint8_t* to) {
  const uint32_t rows = x.rows - first < 16 ? x.rows - first : 16;
  Pairs pairs;
  for (uint32_t k = 0; k < x.depth; k += kDepth, to += kTileBytes) {
    if (x.across) {
      pairs.across(x, first, rows, k, x.depth - k);
      if (kAsRows) pairs.turn();
      std::memcpy(to, pairs.pair, kTileBytes);
    } else if (kAsRows) {
      for (uint32_t r = 0; r < rows; ++r) row_of(x, first + r, k, to + 64 * r);
    } else {
      for (uint32_t r = 0; r < 16; ++r)
        if (r < rows)
          row_of(x, first + r, k, pairs.pair[r]);
        else
          std::memset(pairs.pair[r], 0, 64);
      pairs.turn();
      std::memcpy(to, pairs.pair, kTileBytes);
    }
  }
}
void pack_panel(const ProductOperand& x, uint32_t first, uint32_t, uint8_t, const float*, uint8_t* codes, float*,
                int32_t*) {
  pack_sixteen<false>(x, first, codes);
}
void pack_rows(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t, const float*, uint8_t* codes, float*,
               int32_t*) {
  const uint64_t half = uint64_t(x.depth + kDepth - 1) / kDepth * kTileBytes;
  for (uint32_t r = 0; r < width && first + r < x.rows; r += 16)
    pack_sixteen<true>(x, first + r, codes + r / 16 * half);
}

}  // namespace

constinit const TileCode bf16_code_amx = {kRows,   2,          kDepth,    2,     0,      choose,
                                          nullptr, pack_panel, pack_rows, begin, nullptr};

}  // namespace vibee
