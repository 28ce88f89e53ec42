// SPDX-License-Identifier: Apache-2.0
// The integer matmul by tiles of AMX (Intel 64 and IA-32 Architectures SDM, volume 1, chapter 18): one instruction
// multiplies the 12 rows of an act group by a panel's 16, 32 k at once. A panel is unpacked once to signed codes, from
// which zero points are taken, and to the scales that each of its sums meets; sums are exact integers and meet their
// scales in the order of the contract (tree/precision.md S4), so the bytes are those of every other kernel. Where a row
// has one scale, all of k stays in the tile. Fewer rows than a group has are the AVX-512 kernel's.
#include "vibee/kernels/gemm/qgemm_amx.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = kActMaxGroup, kSums = kRows * 16;
using Record = ActRecord<kRows>;

/// The shapes of tiles, the same for all formats: 0 to 3 hold sums, 4 rows and 5 codes of 32 k, 6 and 7 those of 16 k.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 32, 64, 16, 64};
  uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, 8, kRows, 4};
};
constexpr TileShapes kShapes;

template <Format F>
void unpack(const uint8_t* panel, uint32_t k, uint8_t* to) {
  _tile_loadconfig(&kShapes);
  unpack_blocks<F>(panel, k, to);
}

/// The sums of blocks, begun in tiles of their own so that those of the next run beside what the last ones meet: of
/// even ones in tiles 0 and 1, of odd ones in 2 and 3 (a tile is named in the instruction). A sum of halves is two.
template <Format F>
inline __attribute__((always_inline)) void multiply_even(const uint8_t* q, const uint8_t* codes) {
  if constexpr (halves(panel_layout(F).header)) {
    _tile_zero(0);
    _tile_loadd(6, q, 32);
    _tile_loadd(7, codes, 64);
    _tile_dpbssd(0, 6, 7);
    _tile_zero(1);
    _tile_loadd(6, q + 16, 32);
    _tile_loadd(7, codes + 256, 64);
    _tile_dpbssd(1, 6, 7);
  } else {
    _tile_zero(0);
    for (uint32_t j = 0; j < kBlocksASum<F>; ++j) {
      _tile_loadd(4, q + j * Record::bytes, 32);
      _tile_loadd(5, codes + j * kBlockBytes<F>, 64);
      _tile_dpbssd(0, 4, 5);
    }
  }
}
template <Format F>
inline __attribute__((always_inline)) void multiply_odd(const uint8_t* q, const uint8_t* codes) {
  if constexpr (halves(panel_layout(F).header)) {
    _tile_zero(2);
    _tile_loadd(6, q, 32);
    _tile_loadd(7, codes, 64);
    _tile_dpbssd(2, 6, 7);
    _tile_zero(3);
    _tile_loadd(6, q + 16, 32);
    _tile_loadd(7, codes + 256, 64);
    _tile_dpbssd(3, 6, 7);
  } else {
    _tile_zero(2);
    for (uint32_t j = 0; j < kBlocksASum<F>; ++j) {
      _tile_loadd(4, q + j * Record::bytes, 32);
      _tile_loadd(5, codes + j * kBlockBytes<F>, 64);
      _tile_dpbssd(2, 4, 5);
    }
  }
}

/// A block's sums (those of its second half behind them) meet the scales and the rows' factors.
template <Format F>
inline __attribute__((always_inline)) void meet(const int32_t* sums, const uint8_t* scales, const uint8_t* act,
                                                __m512 (&acc)[kRows]) {
  constexpr Meets M = meets<F>();
  const auto scale = [&](uint32_t i) __attribute__((always_inline)) { return load_floats16(scales + 64 * i); };
#pragma GCC unroll 12
  for (uint32_t m = 0; m < kRows; ++m) {
    const __m512 da = broadcast_float(act + Record::da + 4 * m);
    const __m512i sum = _mm512_load_si512(sums + 16 * m);
    if constexpr (M == Meets::split) {
      const __m512i last = _mm512_load_si512(sums + kSums + 16 * m);
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(sum), scale(0)), da, acc[m]);
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(last), scale(1)), da, acc[m]);
    } else if constexpr (M == Meets::halves || M == Meets::halves_offset) {
      const __m512 both = add_halves(sum, scale(1), _mm512_load_si512(sums + kSums + 16 * m), scale(2));
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(both, scale(0)), da, acc[m]);
    } else if constexpr (M == Meets::scale_zero) {  // exact, below 2^21
      const __m512 ns = floats(broadcast32(act + Record::ns + 4 * m));
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_fmadd_ps(ns, scale(1), floats(sum)), scale(0)), da, acc[m]);
    } else {
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(sum), scale(0)), da, acc[m]);
    }
    if constexpr (M == Meets::scale_offset)
      acc[m] = _mm512_fmadd_ps(scale(1), broadcast_float(act + Record::das + 4 * m), acc[m]);
    if constexpr (M == Meets::halves_offset) {
      const __m512i ns = broadcast32(act + Record::ns + 4 * m), ns0 = broadcast32(act + Record::ns0 + 4 * m);
      const __m512 qsum = add_halves(ns0, scale(4), _mm512_sub_epi32(ns, ns0), scale(5));
      acc[m] = _mm512_fmadd_ps(scale(3), _mm512_mul_ps(da, qsum), acc[m]);
    }
  }
}

/// out[12][16] = the rows of a group times one panel.
template <Format F>
void tile_sums(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, float* out) {
  constexpr uint32_t kAct = kBlocksASum<F> * Record::bytes, kWeight = kBlocksASum<F> * kBlockBytes<F>,
                     kCodes = kBlockBytes<F> - 512;
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr bool kHalves = halves(kLayout.header);
  alignas(64) int32_t sums[2][kHalves ? 2 * kSums : kSums];
  __m512 acc[kRows];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < kRows; ++m) acc[m] = _mm512_setzero_ps();
  const uint32_t count = k / (32 * kBlocksASum<F>);
  const uint8_t *q = group, *w = bytes;
  multiply_even<F>(q, w + kCodes);
  for (uint32_t i = 0;; i += 2, q += 2 * kAct, w += 2 * kWeight) {
    if (i + 1 < count) multiply_odd<F>(q + kAct, w + kWeight + kCodes);
    _tile_stored(0, sums[0], 64);
    if constexpr (kHalves) _tile_stored(1, sums[0] + kSums, 64);
    meet<F>(sums[0], w, q, acc);
    if (i + 1 >= count) break;
    if (i + 2 < count) multiply_even<F>(q + 2 * kAct, w + 2 * kWeight + kCodes);
    _tile_stored(2, sums[1], 64);
    if constexpr (kHalves) _tile_stored(3, sums[1] + kSums, 64);
    meet<F>(sums[1], w + kWeight, q + kAct, acc);
    if (i + 2 >= count) break;
  }
  constexpr uint32_t kSuper = superblock(kLayout.header);
  constexpr uint32_t kSuperBytes = header_bytes(kLayout.header, 16) + kSuper / 32 * code_bytes(kLayout.codes, 16);
  const uint8_t* tail = panel + uint64_t(k / kSuper) * kSuperBytes;
#pragma GCC unroll 12
  for (uint32_t m = 0; m < kRows; ++m)
    _mm512_storeu_ps(out + 16 * m, kLayout.row_scale ? _mm512_mul_ps(acc[m], load_floats16(tail)) : acc[m]);
}

/// The same where rows have one scale: all of k is summed in a tile, zero points' products beside it.
template <Format F>
void tile_rows_whole(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, float* out) {
  alignas(64) int32_t sums[kSums];
  __m512i zeros[kRows];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < kRows; ++m) zeros[m] = _mm512_setzero_si512();
  _tile_zero(0);
  const uint8_t* act = group;
  for (uint32_t block = 0; block < k / 32; ++block, act += Record::bytes, bytes += kBlockBytes<F>) {
    _tile_loadd(4, act + Record::q, 32);
    _tile_loadd(5, bytes + 64, 64);
    _tile_dpbsud(0, 4, 5);
    const __m512i products = load64(bytes);
#pragma GCC unroll 12
    for (uint32_t m = 0; m < kRows; ++m)
      zeros[m] = _mm512_dpwssd_epi32(zeros[m], products, broadcast32(act + Record::ns + 4 * m));
  }
  _tile_stored(0, sums, 64);
  const __m512 scale = load_half16(panel);
#pragma GCC unroll 12
  for (uint32_t m = 0; m < kRows; ++m) {
    const __m512 sum = floats(_mm512_add_epi32(_mm512_load_si512(sums + 16 * m), zeros[m]));
    _mm512_storeu_ps(out + 16 * m,
                     _mm512_mul_ps(_mm512_mul_ps(sum, scale), broadcast_float(group + Record::da + 4 * m)));
  }
}

template <Format F, IntTile kFew>
void tile(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0, uint32_t m,
          float* out) {
  if (m == kRows) {
    if constexpr (meets<F>() == Meets::row)
      return tile_rows_whole<F>(panel, bytes, k, group, out);
    else
      return tile_sums<F>(panel, bytes, k, group, out);
  }
  constexpr uint32_t kMost = halves(panel_layout(F).header) ? 8 : kRows;  // as in kernels.inc
  for (uint32_t i = 0; i < m; i += kMost)
    kFew(panel, k, group, kRows, row0 + i, m - i < kMost ? m - i : kMost, out + 16 * i);
}

}  // namespace

#define VIBEE_QGEMM_AMX(format)                                                                                \
  void qgemm_##format##_amx(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, \
                            uint32_t m, float* out) {                                                          \
    qgemm_##format##_avx512(panel, k, group, g, row0, m, out);                                                 \
  }                                                                                                            \
  const UnpackedTile qgemm_##format##_amx_unpacked = {unpack<Format::format>,                                  \
                                                      tile<Format::format, qgemm_##format##_avx512>,           \
                                                      kBlockBytes<Format::format>, 2 * kRows, kRows};
VIBEE_QGEMM_AMX(q4_0)
VIBEE_QGEMM_AMX(q4_1)
VIBEE_QGEMM_AMX(q5_0)
VIBEE_QGEMM_AMX(q5_1)
VIBEE_QGEMM_AMX(q8_0)
VIBEE_QGEMM_AMX(q4_k)
VIBEE_QGEMM_AMX(q5_k)
VIBEE_QGEMM_AMX(q6_k)
VIBEE_QGEMM_AMX(q2_k)
VIBEE_QGEMM_AMX(q3_k)
VIBEE_QGEMM_AMX(iq4_nl)
VIBEE_QGEMM_AMX(iq4_xs)
VIBEE_QGEMM_AMX(tq1_0)
VIBEE_QGEMM_AMX(tq2_0)
VIBEE_QGEMM_AMX(mxfp4)
VIBEE_QGEMM_AMX(nvfp4)
VIBEE_QGEMM_AMX(nvfp4s)
VIBEE_QGEMM_AMX(i4z32)
VIBEE_QGEMM_AMX(i4z64)
VIBEE_QGEMM_AMX(i4z128)
VIBEE_QGEMM_AMX(i4m32)
VIBEE_QGEMM_AMX(i4m64)
VIBEE_QGEMM_AMX(i4m128)
VIBEE_QGEMM_AMX(i3m64)
VIBEE_QGEMM_AMX(i5m64)
VIBEE_QGEMM_AMX(i6m64)
VIBEE_QGEMM_AMX(i7m64)
VIBEE_QGEMM_AMX(i8m64)
VIBEE_QGEMM_AMX(i8s32)
VIBEE_QGEMM_AMX(i8s64)
VIBEE_QGEMM_AMX(i8s128)
VIBEE_QGEMM_AMX(qoq32)
VIBEE_QGEMM_AMX(qoq64)
VIBEE_QGEMM_AMX(qoq128)
VIBEE_QGEMM_AMX(i4a32)
VIBEE_QGEMM_AMX(i4a64)
VIBEE_QGEMM_AMX(i4a128)
VIBEE_QGEMM_AMX(atom32)
VIBEE_QGEMM_AMX(atom64)
VIBEE_QGEMM_AMX(atom128)
#undef VIBEE_QGEMM_AMX

}  // namespace vibee
