// SPDX-License-Identifier: Apache-2.0
// V16 on one 512-bit register; the meaning of every operation is in v16_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "vibee/base/simd/minifloat_lanes.h"

namespace vibee {
namespace {

using V16 = __m512;
using M16 = __mmask16;
inline constexpr uint32_t kV16Sums = 24;

inline M16 m_first(int n) { return n >= 16 ? M16(0xffff) : n <= 0 ? M16(0) : M16((1u << n) - 1); }
inline V16 v_zero() { return _mm512_setzero_ps(); }
inline V16 v_set(float x) { return _mm512_set1_ps(x); }
inline V16 v_load(const float* p) { return _mm512_loadu_ps(p); }
inline void v_store(float* p, V16 a) { _mm512_storeu_ps(p, a); }
inline V16 v_load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(m_first(n), p); }
inline void v_store_n(float* p, V16 a, int n) { _mm512_mask_storeu_ps(p, m_first(n), a); }
inline V16 v_load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void v_store_half(uint16_t* p, V16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline V16 v_load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/// By integer arithmetic as float_to_bf16: the instruction of AVX512-BF16 flushes subnormal numbers.
inline void v_store_bf16(uint16_t* p, V16 a) {
  const __m512i bits = _mm512_castps_si512(a), upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i near = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd)), 16);
  const __m512i rounded =
      _mm512_mask_or_epi32(near, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), upper, _mm512_set1_epi32(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded));
}
template <uint32_t Sign, int Shift>
inline V16 v_load_minifloat(const uint8_t* p) {
  const __m256i halves = minifloat_halves<Sign, Shift>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtph_ps(halves);
}
template <int Shift, bool kHigh, int Pair>
inline V16 v_load_minifloat6(const uint8_t* nibbles, const uint8_t* pairs) {
  const __m256i halves = minifloat_halves<0x20, Shift>(codes_of_six_bits<kHigh, Pair>(nibbles, pairs));
  return _mm512_cvtph_ps(halves);
}
inline V16 v_load_e8m0(const uint8_t* p) {
  const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_castsi512_ps(
      _mm512_mask_blend_epi32(_mm512_test_epi32_mask(e, e), _mm512_set1_epi32(0x00400000), _mm512_slli_epi32(e, 23)));
}
template <bool kHigh>
inline V16 v_look_up(const uint8_t* p, const float* table) {
  const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_permutexvar_ps(kHigh ? _mm512_srli_epi32(c, 4) : c, _mm512_loadu_ps(table));  // by the low four bits
}
struct U16 {
  __m512i v;
};
inline U16 u_zero() { return {_mm512_setzero_si512()}; }
inline U16 u_load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
template <uint32_t kBy>
inline U16 u_right(U16 a) {
  return {_mm512_srli_epi32(a.v, kBy)};
}
template <uint32_t kBy>
inline U16 u_left(U16 a) {
  return {_mm512_slli_epi32(a.v, kBy)};
}
inline U16 operator|(U16 a, U16 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline U16 u_append_bits(U16 a, uint16_t bits) {
  const __m512i twice = _mm512_slli_epi32(a.v, 1);
  return {_mm512_mask_add_epi32(twice, bits, twice, _mm512_set1_epi32(1))};
}
/// Tables of 32 are two registers; of larger ones the top bit chooses between halves.
template <uint32_t kBits>
inline V16 v_table(U16 index, const float* table) {
  if constexpr (kBits == 3)
    return _mm512_permutexvar_ps(_mm512_and_si512(index.v, _mm512_set1_epi32(7)), _mm512_loadu_ps(table));
  if constexpr (kBits == 4) return _mm512_permutexvar_ps(index.v, _mm512_loadu_ps(table));
  if constexpr (kBits == 5) return _mm512_permutex2var_ps(_mm512_loadu_ps(table), index.v, _mm512_loadu_ps(table + 16));
  if constexpr (kBits > 5) {
    const __mmask16 upper = _mm512_test_epi32_mask(index.v, _mm512_set1_epi32(1 << (kBits - 1)));
    return _mm512_mask_blend_ps(upper, v_table<kBits - 1>(index, table),
                                v_table<kBits - 1>(index, table + (1 << (kBits - 1))));
  }
}
inline V16 v_load_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void v_store_i8(int8_t* p, V16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}
inline V16 v_fma(V16 a, V16 b, V16 c) { return _mm512_fmadd_ps(a, b, c); }
inline V16 v_max(V16 a, V16 b) { return _mm512_max_ps(a, b); }
inline V16 v_min(V16 a, V16 b) { return _mm512_min_ps(a, b); }
inline V16 v_sqrt(V16 a) { return _mm512_sqrt_ps(a); }
inline V16 v_round(V16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline V16 v_abs(V16 a) { return _mm512_abs_ps(a); }
inline V16 v_pow2(V16 n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
inline M16 v_less(V16 a, V16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline M16 m_from_bits(uint32_t bits) { return M16(bits); }
inline uint32_t m_bits(M16 m) { return m; }
inline V16 v_select(M16 m, V16 a, V16 b) { return _mm512_mask_blend_ps(m, b, a); }
inline V16 v_broadcast(const float* p) { return _mm512_set1_ps(*p); }
inline V16 v_load_4x4(const float* a, const float* b, const float* c, const float* d) {
  const __m512 ab = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
  return _mm512_insertf32x4(_mm512_insertf32x4(ab, _mm_loadu_ps(c), 2), _mm_loadu_ps(d), 3);
}
inline void v_transpose_4x4(V16& a, V16& b, V16& c, V16& d) {
  const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
  const __m512d ab2 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b)), cd2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  a = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
  b = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
  c = _mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2));
  d = _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2));
}

inline float v_sum(V16 a) {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
inline float v_hmax(V16 a) {
  const __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

}  // namespace
}  // namespace vibee
