// SPDX-License-Identifier: Apache-2.0
// philox4x32() of sixteen counters that differ in their first word alone, first .. first + 15, for code that is
// compiled once an instruction set: words[j][i] is word j of the i-th.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vibee {
namespace {

#if defined(__AVX2__)

/// Both halves of eight products of 32 bits.
inline void multiply(__m256i a, uint32_t by, __m256i* high, __m256i* low) {
  const __m256i b = _mm256_set1_epi64x(by);
  const __m256i even = _mm256_mul_epu32(a, b), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

inline void philox16(uint32_t first, uint32_t second, uint32_t third, uint32_t fourth, uint64_t key,
                     uint32_t words[4][16]) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i c[2][4];
  for (int h = 0; h < 2; ++h) {
    c[h][0] = _mm256_add_epi32(_mm256_set1_epi32(int(first) + 8 * h), lanes);
    c[h][1] = _mm256_set1_epi32(int(second));
    c[h][2] = _mm256_set1_epi32(int(third));
    c[h][3] = _mm256_set1_epi32(int(fourth));
  }
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const __m256i key0 = _mm256_set1_epi32(int(k0)), key1 = _mm256_set1_epi32(int(k1));
    for (int h = 0; h < 2; ++h) {
      __m256i high0, low0, high1, low1;
      multiply(c[h][0], 0xD2511F53u, &high0, &low0);
      multiply(c[h][2], 0xCD9E8D57u, &high1, &low1);
      c[h][0] = _mm256_xor_si256(_mm256_xor_si256(high1, c[h][1]), key0);
      c[h][2] = _mm256_xor_si256(_mm256_xor_si256(high0, c[h][3]), key1);
      c[h][1] = low1;
      c[h][3] = low0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int h = 0; h < 2; ++h)
    for (int j = 0; j < 4; ++j) _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[j] + 8 * h), c[h][j]);
}

#else

inline void philox16(uint32_t first, uint32_t second, uint32_t third, uint32_t fourth, uint64_t key,
                     uint32_t words[4][16]) {
  for (uint32_t i = 0; i < 16; ++i) {
    uint32_t c0 = first + i, c1 = second, c2 = third, c3 = fourth;
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
      c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
      c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
      c1 = uint32_t(p1);
      c3 = uint32_t(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[0][i] = c0, words[1][i] = c1, words[2][i] = c2, words[3][i] = c3;
  }
}

#endif

}  // namespace
}  // namespace vibee
