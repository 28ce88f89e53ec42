// SPDX-License-Identifier: Apache-2.0
// Two by two tiles of 16 rows and 16 columns, 64 k at once (AMX: TDPBSSD). A tile of a has its rows one behind the
// other, so a is packed as [rows / 16][depth / 64][16][64]; what a panel of b has behind its depth meets zeros there.
#include <utility>

#include "vibee/kernels/gemm/int8_kernel.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = 32, kDepth = 64, kTileBytes = 16 * kDepth;
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
  const uint32_t steps = (depth + kDepth - 1) / kDepth;
  const uint8_t* const second = a + uint64_t(steps) * kTileBytes;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (uint64_t at = 0; at < uint64_t(steps) * kTileBytes; at += kTileBytes) {
    _tile_loadd(4, a + at, kDepth);
    _tile_loadd(6, b + at, kDepth);
    _tile_dpbssd(0, 4, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, b + panel + at, kDepth);
      _tile_dpbssd(1, 4, 7);
    }
    if constexpr (kHalves == 2) {
      _tile_loadd(5, second + at, kDepth);
      _tile_dpbssd(2, 5, 6);
      if constexpr (kPanels == 2) _tile_dpbssd(3, 5, 7);
    }
  }
  alignas(64) int32_t sums[kHalves][kPanels][16][16];
  _tile_stored(0, sums[0][0], 64);
  if constexpr (kPanels == 2) _tile_stored(1, sums[0][1], 64);
  if constexpr (kHalves == 2) _tile_stored(2, sums[1][0], 64);
  if constexpr (kHalves == 2 && kPanels == 2) _tile_stored(3, sums[1][1], 64);
  for (uint32_t m = 0; m < to.rows; ++m)
    for (uint32_t p = 0; p < kPanels; ++p) {
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(to.a_scales[m]), _mm512_loadu_ps(to.b_scales + 16 * p));
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums[m / 16][p][m % 16]));
      v_store_n(to.d + m * to.ld + 16 * p, _mm512_mul_ps(sum, scale), int(to.columns) - int(16 * p));
    }
}
PackedTile choose(uint32_t rows, uint32_t panels) {
  if (rows > 16) return panels == 2 ? tile<2, 2> : tile<2, 1>;
  return panels == 2 ? tile<1, 2> : tile<1, 1>;
}

void pack_rows(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t, const float* largest, uint8_t* codes,
               float* scales, int32_t*) {
  const uint32_t rows = x.rows - first < width ? x.rows - first : width;
  const uint64_t half = uint64_t(x.depth + kDepth - 1) / kDepth * kTileBytes;  // bytes of 16 rows
  const auto to = [&](uint32_t r, uint32_t k) {
    return codes + r / 16 * half + k / kDepth * uint64_t(kTileBytes) + r % 16 * kDepth + k % kDepth;
  };
  alignas(64) float by[kRows] = {};
  for (uint32_t r = 0; r < width; ++r) scales[r] = 0;
  for (uint32_t r = 0; r < rows; ++r) int8_scale(largest[r], by + r, scales + r);
  if (x.depth % kDepth != 0)
    for (uint32_t r = 0; r < width; ++r) std::memset(to(r, x.depth / kDepth * kDepth), 0, kDepth);
  if (!x.across) {
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t k = 0; k < x.depth; k += 16) {  // past the depth zeros, inside the row's 64
        int8_t eight[16];
        v_store_i8(eight, int8_codes(load_some(x.element, x.p, (first + r) * x.ld + k, x.depth - k), v_set(by[r])));
        std::memcpy(to(r, k), eight, 16);
      }
    return;
  }
  for (uint32_t r = 0; r < rows; r += 16) {
    const uint32_t n = rows - r < 16 ? rows - r : 16;
    const V16 factors = v_load(by + r);
    for (uint32_t k = 0; k < x.depth; k += 4) {
      int8_t eight[4][16] = {};
      for (uint32_t i = 0; i < 4 && k + i < x.depth; ++i)
        v_store_i8(eight[i], int8_codes(load_some(x.element, x.p, (k + i) * x.ld + first + r, n), factors));
      for (uint32_t j = 0; j < n; ++j) {
        uint8_t* const four = to(r + j, k);
        for (uint32_t i = 0; i < 4; ++i) four[i] = uint8_t(eight[i][j]);
      }
    }
  }
}

}  // namespace

constinit const TileCode int8_code_amx = {kRows,          2,         kDepth, 1,      0, choose, int8_largest_of_rows,
                                          int8_pack_rows, pack_rows, begin,  nullptr};

}  // namespace vibee
