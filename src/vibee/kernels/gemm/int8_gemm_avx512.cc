// SPDX-License-Identifier: Apache-2.0
// vpdpbusd takes b's codes with 128 added; sums begin with what that adds to them.
#include <utility>

#include "vibee/kernels/gemm/int8_kernel.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = 14;

template <uint32_t M, uint32_t P>
void tile(const uint8_t* a, const uint8_t* b, uint64_t panel, uint32_t depth, const TileFinish& to) {
  const uint32_t fours = (depth + 3) / 4;
  __m512i acc[M][P];
#pragma GCC unroll 16
  for (uint32_t m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) acc[m][p] = _mm512_set1_epi32(-128 * to.a_sums[m]);
  for (uint32_t i = 0; i < fours; ++i, a += 4 * kRows, b += 4 * kPackedPanel) {
    __m512i w[P];
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) w[p] = _mm512_loadu_si512(b + p * panel);
#pragma GCC unroll 16
    for (uint32_t m = 0; m < M; ++m) {
      int32_t four;
      std::memcpy(&four, a + 4 * m, 4);
      const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 2
      for (uint32_t p = 0; p < P; ++p) acc[m][p] = _mm512_dpbusd_epi32(acc[m][p], w[p], x);
    }
  }
#pragma GCC unroll 16
  for (uint32_t m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) {
      const int left = int(to.columns) - int(16 * p);
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(to.a_scales[m]), _mm512_loadu_ps(to.b_scales + 16 * p));
      v_store_n(to.d + m * to.ld + 16 * p, _mm512_mul_ps(_mm512_cvtepi32_ps(acc[m][p]), scale), left);
    }
}
template <uint32_t P, uint32_t... I>
PackedTile tile_of(uint32_t rows, std::integer_sequence<uint32_t, I...>) {
  static constexpr PackedTile kTiles[] = {tile<I + 1, P>...};
  return kTiles[rows - 1];
}
PackedTile choose(uint32_t rows, uint32_t panels) {
  constexpr std::make_integer_sequence<uint32_t, kRows> kAll{};
  return panels == 2 ? tile_of<2>(rows, kAll) : tile_of<1>(rows, kAll);
}

}  // namespace

constinit const TileCode int8_code_avx512 = {
    kRows, 2, 4, 1, 0x80, choose, int8_largest_of_rows, int8_pack_rows, int8_pack_rows, nullptr, nullptr};

}  // namespace vibee
