// SPDX-License-Identifier: Apache-2.0
// V16 on two 256-bit registers; the meaning of every operation is in v16_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "vibee/base/simd/minifloat_lanes.h"

namespace vibee {
namespace {

struct V16 {
  __m256 lo, hi;
};
/// Sums that stay in registers beside what is added to them.
inline constexpr uint32_t kV16Sums = 6;
struct M16 {
  uint32_t bits;
};

inline __m256i m_lanes(uint32_t bits) {  // eight lanes of all ones where a bit is set
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(bits)), bit), bit);
}
inline uint32_t m_first(int n) { return n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1; }
inline V16 v_zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline V16 v_set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline V16 v_load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void v_store(float* p, V16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline V16 v_load_n(const float* p, int n) {
  const uint32_t m = m_first(n);
  return {_mm256_maskload_ps(p, m_lanes(m)), _mm256_maskload_ps(p + 8, m_lanes(m >> 8))};
}
inline void v_store_n(float* p, V16 a, int n) {
  const uint32_t m = m_first(n);
  _mm256_maskstore_ps(p, m_lanes(m), a.lo);
  _mm256_maskstore_ps(p + 8, m_lanes(m >> 8), a.hi);
}
inline V16 v_load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
inline void v_store_half(uint16_t* p, V16 a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, kNearest));
}
inline V16 v_load_bf16(const uint16_t* p) {
  const __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}
/// The upper halves of eight floats, rounded by integer arithmetic as float_to_bf16 does.
inline __m256i bf16_lanes(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a), upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i near = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd)), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(near, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
}
inline void v_store_bf16(uint16_t* p, V16 a) {
  const __m256i packed = _mm256_packus_epi32(bf16_lanes(a.lo), bf16_lanes(a.hi));  // in 128-bit halves
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
inline V16 widen_halves(__m256i halves) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}
template <uint32_t Sign, int Shift>
inline V16 v_load_minifloat(const uint8_t* p) {
  return widen_halves(minifloat_halves<Sign, Shift>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
template <int Shift, bool kHigh, int Pair>
inline V16 v_load_minifloat6(const uint8_t* nibbles, const uint8_t* pairs) {
  return widen_halves(minifloat_halves<0x20, Shift>(codes_of_six_bits<kHigh, Pair>(nibbles, pairs)));
}
inline V16 v_load_e8m0(const uint8_t* p) {
  const auto eight = [](const uint8_t* at) {
    const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    const __m256i none = _mm256_cmpeq_epi32(e, _mm256_setzero_si256());
    return _mm256_castsi256_ps(_mm256_blendv_epi8(_mm256_slli_epi32(e, 23), _mm256_set1_epi32(0x00400000), none));
  };
  return {eight(p), eight(p + 8)};
}
/// Eight of them: by the low three bits from the halves of the table, the fourth chooses.
inline __m256 look_up8(__m256i index, const float* table) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
template <bool kHigh>
inline V16 v_look_up(const uint8_t* p, const float* table) {
  const auto index = [](const uint8_t* at) {
    const __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    return kHigh ? _mm256_srli_epi32(c, 4) : c;
  };
  return {look_up8(index(p), table), look_up8(index(p + 8), table)};
}
struct U16 {
  __m256i lo, hi;
};
inline U16 u_zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline U16 u_load(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
template <uint32_t kBy>
inline U16 u_right(U16 a) {
  return {_mm256_srli_epi32(a.lo, int(kBy)), _mm256_srli_epi32(a.hi, int(kBy))};
}
template <uint32_t kBy>
inline U16 u_left(U16 a) {
  return {_mm256_slli_epi32(a.lo, int(kBy)), _mm256_slli_epi32(a.hi, int(kBy))};
}
inline U16 operator|(U16 a, U16 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
inline U16 u_append_bits(U16 a, uint16_t bits) {
  const __m256i all = _mm256_set1_epi32(bits), one = _mm256_set1_epi32(1),
                lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i low = _mm256_srlv_epi32(all, lanes), high = _mm256_srli_epi32(low, 8);
  return {_mm256_or_si256(_mm256_slli_epi32(a.lo, 1), _mm256_and_si256(low, one)),
          _mm256_or_si256(_mm256_slli_epi32(a.hi, 1), _mm256_and_si256(high, one))};
}
/// Of 8, 16 or 32 elements by permutations of eight, of which bits 3 and 4 choose; larger tables are gathered.
template <uint32_t kBits>
inline __m256 table8(__m256i index, const float* table) {
  if constexpr (kBits == 3) return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
  if constexpr (kBits == 4) return look_up8(index, table);
  if constexpr (kBits == 5)
    return _mm256_blendv_ps(look_up8(index, table), look_up8(index, table + 16),
                            _mm256_castsi256_ps(_mm256_slli_epi32(index, 27)));
  return _mm256_i32gather_ps(table, _mm256_and_si256(index, _mm256_set1_epi32((1 << kBits) - 1)), 4);
}
template <uint32_t kBits>
inline V16 v_table(U16 index, const float* table) {
  return {table8<kBits>(index.lo, table), table8<kBits>(index.hi, table)};
}
inline V16 v_load_i8(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8))))};
}
inline void v_store_i8(int8_t* p, V16 a) {
  const __m256i w = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i o = _mm256_permute4x64_epi64(w, 0xd8);  // packs works in 128-bit halves
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(o), _mm256_extracti128_si256(o, 1)));
}
inline V16 operator+(V16 a, V16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline V16 operator-(V16 a, V16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline V16 operator*(V16 a, V16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline V16 operator/(V16 a, V16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline V16 v_fma(V16 a, V16 b, V16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline V16 v_max(V16 a, V16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline V16 v_min(V16 a, V16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline V16 v_sqrt(V16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
inline V16 v_round(V16 a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
}
inline V16 v_abs(V16 a) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(a.lo, mask), _mm256_and_ps(a.hi, mask)};
}
inline V16 v_pow2(V16 n) {
  const __m256i bias = _mm256_set1_epi32(127);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.lo), bias), 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.hi), bias), 23))};
}
inline M16 v_less(V16 a, V16 b) {
  return {uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ))) |
          uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))) << 8};
}
inline M16 m_from_bits(uint32_t bits) { return {bits}; }
inline uint32_t m_bits(M16 m) { return m.bits; }
inline V16 v_select(M16 m, V16 a, V16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(m_lanes(m.bits))),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(m_lanes(m.bits >> 8)))};
}
inline V16 v_broadcast(const float* p) {
  const __m256 x = _mm256_broadcast_ss(p);
  return {x, x};
}
inline V16 v_load_4x4(const float* a, const float* b, const float* c, const float* d) {
  return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1),
          _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(c)), _mm_loadu_ps(d), 1)};
}
inline void v_transpose_half(__m256& a, __m256& b, __m256& c, __m256& d) {
  const __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
  const __m256d ab2 = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)), cd2 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  a = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
  b = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
  c = _mm256_castpd_ps(_mm256_unpacklo_pd(ab2, cd2));
  d = _mm256_castpd_ps(_mm256_unpackhi_pd(ab2, cd2));
}
inline void v_transpose_4x4(V16& a, V16& b, V16& c, V16& d) {
  v_transpose_half(a.lo, b.lo, c.lo, d.lo);
  v_transpose_half(a.hi, b.hi, c.hi, d.hi);
}

inline float v_sum(V16 a) {
  const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
inline float v_hmax(V16 a) {
  const __m256 s8 = _mm256_max_ps(a.lo, a.hi);
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

}  // namespace
}  // namespace vibee
