// SPDX-License-Identifier: Apache-2.0
// Sixteen codes of small floats as vectors of 128 and 256 bits, which AVX2 and AVX-512 share; included by v16_avx2.h
// and v16_avx512.h alone.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace vibee {
namespace {

/// The bits of halves, of sixteen codes.
template <uint32_t Sign, int Shift>
inline __m256i minifloat_halves(__m128i codes) {
  constexpr int kUp = 15 - __builtin_ctz(Sign);
  const __m256i c = _mm256_cvtepu8_epi16(codes);
  const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(c, _mm256_set1_epi16(int16_t(Sign))), kUp);
  return _mm256_or_si256(sign, _mm256_slli_epi16(_mm256_and_si256(c, _mm256_set1_epi16(int16_t(Sign - 1))), Shift));
}
template <bool kHigh, int Pair>
inline __m128i codes_of_six_bits(const uint8_t* nibbles, const uint8_t* pairs) {
  const __m128i n = _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles));
  const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pairs));
  const __m128i low = _mm_and_si128(kHigh ? _mm_srli_epi16(n, 4) : n, _mm_set1_epi8(15));
  const __m128i moved = Pair <= 4 ? _mm_slli_epi16(t, 4 - Pair) : _mm_srli_epi16(t, Pair - 4);
  return _mm_or_si128(low, _mm_and_si128(moved, _mm_set1_epi8(0x30)));
}

}  // namespace
}  // namespace vibee
