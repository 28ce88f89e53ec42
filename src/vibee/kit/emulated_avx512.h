// SPDX-License-Identifier: Apache-2.0
// AVX-512 by SIMDe (https://github.com/simd-everywhere/simde) on a CPU with AVX2 and FMA, for tests:
// cmake/folders.cmake compiles each x_avx512.cc a second time after this header. Below it are the intrinsics that SIMDe
// 0.7.4 lacks.
#pragma once

#define VIBEE_EMULATED_AVX512
#define SIMDE_ENABLE_NATIVE_ALIASES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <simde/x86/avx512.h>
#pragma GCC diagnostic pop
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace vibee {
namespace {

/// The lower and upper half of a vector in memory.
template <class Half, class Whole>
inline Half half_of(const Whole& v, int which) {
  Half half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + 32 * which, 32);
  return half;
}
template <class Whole, class Half>
inline Whole join(const Half& low, const Half& high) {
  Whole v;
  std::memcpy(&v, &low, 32);
  std::memcpy(reinterpret_cast<char*>(&v) + 32, &high, 32);
  return v;
}

inline __m512 emulated_cvtepi32_ps(__m512i a) {
  return join<__m512>(_mm256_cvtepi32_ps(half_of<__m256i>(a, 0)), _mm256_cvtepi32_ps(half_of<__m256i>(a, 1)));
}
inline __m512i emulated_cvtps_epi32(__m512 a) {
  return join<__m512i>(_mm256_cvtps_epi32(half_of<__m256>(a, 0)), _mm256_cvtps_epi32(half_of<__m256>(a, 1)));
}
inline __m512i emulated_cvttps_epi32(__m512 a) {
  return join<__m512i>(_mm256_cvttps_epi32(half_of<__m256>(a, 0)), _mm256_cvttps_epi32(half_of<__m256>(a, 1)));
}
inline __m512 emulated_cvtph_ps(__m256i a) {
  return join<__m512>(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}
inline __m256i emulated_cvtps_ph(__m512 a) {  // to nearest, the only rounding that kernels ask for
  return _mm256_set_m128i(_mm256_cvtps_ph(half_of<__m256>(a, 1), _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(half_of<__m256>(a, 0), _MM_FROUND_TO_NEAREST_INT));
}
inline __m512i emulated_cvtepi8_epi32(__m128i a) {
  return join<__m512i>(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
}
inline __m512i emulated_cvtepu8_epi32(__m128i a) {
  return join<__m512i>(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)));
}
inline __m512i emulated_cvtepu16_epi32(__m256i a) {
  return join<__m512i>(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                       _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)));
}
inline __m128i emulated_cvtepi32_epi8(__m512i a) {
  int32_t from[16];
  int8_t to[16];
  std::memcpy(from, &a, 64);
  for (int i = 0; i < 16; ++i) to[i] = int8_t(from[i]);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(to));
}
inline __m256i emulated_cvtepi32_epi16(__m512i a) {
  uint32_t from[16];
  uint16_t to[16];
  std::memcpy(from, &a, 64);
  for (int i = 0; i < 16; ++i) to[i] = uint16_t(from[i]);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(to));
}
inline __m512 emulated_maskz_loadu_ps(uint16_t mask, const void* p) {
  float out[16] = {};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) std::memcpy(out + i, static_cast<const char*>(p) + 4 * i, 4);
  return join<__m512>(_mm256_loadu_ps(out), _mm256_loadu_ps(out + 8));
}
inline void emulated_mask_storeu_ps(void* p, uint16_t mask, __m512 a) {
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) std::memcpy(static_cast<char*>(p) + 4 * i, reinterpret_cast<const char*>(&a) + 4 * i, 4);
}
inline uint16_t emulated_cmplt_epi32_mask(__m512i a, __m512i b) {
  int32_t x[16], y[16];
  std::memcpy(x, &a, 64);
  std::memcpy(y, &b, 64);
  uint32_t mask = 0;
  for (int i = 0; i < 16; ++i) mask |= uint32_t(x[i] < y[i]) << i;
  return uint16_t(mask);
}
/// The sum in the order of GCC's and Clang's: halves are added until one element is left.
template <class T, int kCount, class V>
inline T emulated_reduce_add(const V& v) {
  T x[kCount];
  std::memcpy(x, &v, sizeof x);
  for (int n = kCount / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) x[i] = x[i] + x[i + n];
  return x[0];
}

}  // namespace
}  // namespace vibee

#undef _mm512_cvtps_ph
#undef _mm512_extractf32x8_ps
#undef _mm512_cmplt_epi32_mask
#define _mm512_cvtepi32_ps(a) vibee::emulated_cvtepi32_ps(a)
#define _mm512_cvtps_epi32(a) vibee::emulated_cvtps_epi32(a)
#define _mm512_cvttps_epi32(a) vibee::emulated_cvttps_epi32(a)
#define _mm512_cvtph_ps(a) vibee::emulated_cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) vibee::emulated_cvtps_ph(a)
#define _mm512_cvtepi8_epi32(a) vibee::emulated_cvtepi8_epi32(a)
#define _mm512_cvtepu8_epi32(a) vibee::emulated_cvtepu8_epi32(a)
#define _mm512_cvtepu16_epi32(a) vibee::emulated_cvtepu16_epi32(a)
#define _mm512_cvtepi32_epi8(a) vibee::emulated_cvtepi32_epi8(a)
#define _mm512_cvtepi32_epi16(a) vibee::emulated_cvtepi32_epi16(a)
#define _mm512_extractf32x8_ps(a, which) vibee::half_of<__m256>(a, which)
#define _mm512_maskz_loadu_ps(mask, p) vibee::emulated_maskz_loadu_ps(mask, p)
#define _mm512_mask_storeu_ps(p, mask, a) vibee::emulated_mask_storeu_ps(p, mask, a)
#define _mm512_cmplt_epi32_mask(a, b) vibee::emulated_cmplt_epi32_mask(a, b)
#define _mm512_reduce_add_ps(a) vibee::emulated_reduce_add<float, 16>(a)
#define _mm512_reduce_add_epi32(a) vibee::emulated_reduce_add<int32_t, 16>(a)
#define _mm512_reduce_add_epi64(a) vibee::emulated_reduce_add<int64_t, 8>(a)
#define _cvtu64_mask64(a) (a)
