// SPDX-License-Identifier: Apache-2.0
// Rows in bf16 (bf16_rows.h) by integer weights decoded to bf16 (AMX: TDPBF16PS): with no scale left to meet, all of k
// stays in a tile. A panel becomes pairs of k, [k / 32][16 pairs][16 rows][2], for four tiles of rows at a time.
#include "vibee/kernels/gemm/bf16_rows.h"
#include "vibee/kernels/gemm/qgemm_amx.h"

namespace vibee {
namespace {

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShapes kShapes;
constexpr uint32_t kTileBytes = 1024;

/// Byte `i` of each lane with its sign, times 2^24.
template <int i>
inline __m512 code_floats(__m512i codes) {
  if constexpr (i == 0) return floats(_mm512_slli_epi32(codes, 24));
  if constexpr (i == 3) return floats(_mm512_and_si512(codes, _mm512_set1_epi32(int(0xff000000))));
  return floats(_mm512_and_si512(_mm512_slli_epi32(codes, 24 - 8 * i), _mm512_set1_epi32(int(0xff000000))));
}
/// Lanes of two vectors rounded to bf16, those of the first below those of the second.
inline __m512i bf16_pairs(__m512 first, __m512 second, __m512i beside) {
  return _mm512_permutexvar_epi16(beside, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

/// What a code of a block stands for: factor * code + offset, of each half of the block.
struct Line {
  __m512 factor, offset;
};
template <Format F>
inline Line line_of(const uint8_t* scales, uint32_t half) {
  constexpr Meets M = meets<F>();
  const auto scale = [&](uint32_t i) { return load_floats16(scales + 64 * i); };
  const __m512 none = _mm512_setzero_ps();
  if constexpr (M == Meets::split) return {scale(half), none};
  if constexpr (M == Meets::halves) return {_mm512_mul_ps(scale(0), scale(1 + half)), none};
  if constexpr (M == Meets::halves_offset)  // both are negated
    return {_mm512_mul_ps(scale(0), scale(1 + half)), _mm512_fnmadd_ps(scale(3), scale(4 + half), none)};
  if constexpr (M == Meets::scale_zero) return {scale(0), _mm512_fnmadd_ps(scale(0), scale(1), none)};
  if constexpr (M == Meets::scale_offset) return {scale(0), scale(1)};
  return {scale(0), none};
}

template <Format F>
void unpack(const uint8_t* panel, uint32_t k, uint8_t* to) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr uint32_t kSuper = superblock(kLayout.header), kBlocks = kSuper / 32;
  constexpr uint32_t kSuperBytes = header_bytes(kLayout.header, 16) + kBlocks * code_bytes(kLayout.codes, 16);
  _tile_loadconfig(&kShapes);
  alignas(64) uint8_t blocks[kBlocks * kBlockBytes<F>];
  alignas(64) uint16_t lanes[32];  // of both vectors in turn
  for (uint16_t i = 0; i < 32; ++i) lanes[i] = uint16_t(i / 2 + i % 2 * 16);
  const __m512i beside = load64(reinterpret_cast<const uint8_t*>(lanes));
  for (uint32_t super = 0; super < k / kSuper; ++super) {
    unpack_blocks<F>(panel + uint64_t(super) * kSuperBytes, kSuper, blocks);
    for (const uint8_t* block = blocks; block < blocks + sizeof blocks; block += kBlockBytes<F>) {
      const uint8_t* const codes = block + kBlockBytes<F> - 512;
#pragma GCC unroll 2
      for (uint32_t half = 0; half < 2; ++half) {
        Line line = line_of<F>(block, half);
        line.factor = _mm512_mul_ps(line.factor, _mm512_set1_ps(0x1p-24f));
#pragma GCC unroll 4
        for (uint32_t p = 4 * half; p < 4 * half + 4; ++p, to += 128) {
          const __m512i four = load64(codes + 64 * p);
          const __m512 k0 = _mm512_fmadd_ps(line.factor, code_floats<0>(four), line.offset);
          const __m512 k1 = _mm512_fmadd_ps(line.factor, code_floats<1>(four), line.offset);
          const __m512 k2 = _mm512_fmadd_ps(line.factor, code_floats<2>(four), line.offset);
          const __m512 k3 = _mm512_fmadd_ps(line.factor, code_floats<3>(four), line.offset);
          store64(to, bf16_pairs(k0, k1, beside));
          store64(to + 64, bf16_pairs(k2, k3, beside));
        }
      }
    }
  }
}

/// kTiles of sixteen rows times a panel. Tiles are named in the instructions: 0 to 3 have sums, 4 and 5 rows in turn, 6
/// pairs of the panel.
template <uint32_t kTiles>
void multiply(const uint8_t* rows, const uint8_t* pairs, uint64_t bytes, float* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (const uint8_t *a = rows, *end = rows + bytes; a < end; a += kTileBytes, pairs += kTileBytes) {
    _tile_loadd(6, pairs, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTiles > 1) {
      _tile_loadd(5, a + bytes, 64);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (kTiles > 2) {
      _tile_loadd(4, a + 2 * bytes, 64);
      _tile_dpbf16ps(2, 4, 6);
    }
    if constexpr (kTiles > 3) {
      _tile_loadd(5, a + 3 * bytes, 64);
      _tile_dpbf16ps(3, 5, 6);
    }
  }
  _tile_stored(0, out, 64);
  if constexpr (kTiles > 1) _tile_stored(1, out + 256, 64);
  if constexpr (kTiles > 2) _tile_stored(2, out + 512, 64);
  if constexpr (kTiles > 3) _tile_stored(3, out + 768, 64);
}

/// out[m][16] = rows row0 .. row0 + m (from a multiple of kBf16Tile on) times a panel; out has room for whole tiles.
template <Format F>
void tile(const uint8_t* panel, const uint8_t* pairs, uint32_t k, const uint8_t* rows, uint32_t row0, uint32_t m,
          float* out) {
  const uint64_t bytes = uint64_t(k) / 32 * kTileBytes;
  const uint8_t* const first = rows + row0 / 16 * bytes;
  switch ((m + 15) / 16) {
    case 1: multiply<1>(first, pairs, bytes, out); break;
    case 2: multiply<2>(first, pairs, bytes, out); break;
    case 3: multiply<3>(first, pairs, bytes, out); break;
    default: multiply<4>(first, pairs, bytes, out);
  }
  if constexpr (panel_layout(F).row_scale) {
    constexpr uint32_t kSuper = superblock(panel_layout(F).header);
    constexpr uint32_t kSuperBytes =
        header_bytes(panel_layout(F).header, 16) + kSuper / 32 * code_bytes(panel_layout(F).codes, 16);
    const __m512 scale = load_floats16(panel + uint64_t(k / kSuper) * kSuperBytes);
    for (uint32_t i = 0; i < m; ++i)
      _mm512_storeu_ps(out + 16 * i, _mm512_mul_ps(_mm512_loadu_ps(out + 16 * i), scale));
  }
}

template <Format F>
constexpr UnpackedTile of_format() {
  if constexpr (act_rule(F) == ActRule::block)
    return {unpack<F>, tile<F>, kTileBytes, kBf16FromRows, kBf16Tile};
  else  // rows by other rules are not rounded to bf16
    return {nullptr, nullptr, 0, 0, 0};
}

}  // namespace

#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows) VIBEE_BF16_##isa(symbol, format)
#define VIBEE_BF16_scalar(symbol, format)
#define VIBEE_BF16_avx2(symbol, format)
#define VIBEE_BF16_avx512(symbol, format)
#define VIBEE_BF16_amx(symbol, format) constinit const UnpackedTile symbol##_bf16 = of_format<Format::format>();
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows)
#define VIBEE_DKERNEL(symbol, technique, isa, order)
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL

}  // namespace vibee
