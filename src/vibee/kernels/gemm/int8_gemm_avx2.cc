// SPDX-License-Identifier: Apache-2.0
// Codes of both signs: |b| times a with b's sign, whose pairs stay within 16 bits (2 * 127 * 127 = 32,258).
#include "vibee/kernels/gemm/int8_kernel.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = 4;

template <uint32_t M>
void tile(const uint8_t* a, const uint8_t* b, uint64_t, uint32_t depth, const TileFinish& to) {
  const uint32_t fours = (depth + 3) / 4;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[M][2];
#pragma GCC unroll 4
  for (uint32_t m = 0; m < M; ++m) acc[m][0] = acc[m][1] = _mm256_setzero_si256();
  for (uint32_t i = 0; i < fours; ++i, a += 4 * kRows, b += 4 * kPackedPanel) {
#pragma GCC unroll 2
    for (uint32_t h = 0; h < 2; ++h) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + 32 * h)), size = _mm256_abs_epi8(w);
#pragma GCC unroll 4
      for (uint32_t m = 0; m < M; ++m) {
        int32_t four;
        std::memcpy(&four, a + 4 * m, 4);
        const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(four), w));
        acc[m][h] = _mm256_add_epi32(acc[m][h], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
#pragma GCC unroll 4
  for (uint32_t m = 0; m < M; ++m) {
    alignas(32) float row[kPackedPanel];
#pragma GCC unroll 2
    for (uint32_t h = 0; h < 2; ++h) {
      const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(to.a_scales[m]), _mm256_loadu_ps(to.b_scales + 8 * h));
      const __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[m][h]), scale);
      if (to.columns >= kPackedPanel)
        _mm256_storeu_ps(to.d + m * to.ld + 8 * h, y);
      else
        _mm256_store_ps(row + 8 * h, y);
    }
    if (to.columns < kPackedPanel) std::memcpy(to.d + m * to.ld, row, 4 * to.columns);
  }
}
PackedTile choose(uint32_t rows, uint32_t) {
  constexpr PackedTile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>};
  return kTiles[rows - 1];
}

}  // namespace

constinit const TileCode int8_code_avx2 = {
    kRows, 1, 4, 1, 0, choose, int8_largest_of_rows, int8_pack_rows, int8_pack_rows, nullptr, nullptr};

}  // namespace vibee
