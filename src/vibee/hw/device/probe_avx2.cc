// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "vibee/hw/device/probe.h"

namespace vibee {

uint64_t probe_read_avx2(const uint8_t* data, uint64_t bytes) {
  const uint64_t quarter = bytes / 4 / 128 * 128;
  __m256i sum = _mm256_setzero_si256();
  for (uint64_t i = 0; i < quarter; i += 128)
    for (int stream = 0; stream < 4; ++stream)
      for (int j = 0; j < 4; ++j)
        sum = _mm256_xor_si256(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
                                        data + uint64_t(stream) * quarter + i + uint64_t(j) * 32)));
  return uint64_t(_mm256_extract_epi64(sum, 0) ^ _mm256_extract_epi64(sum, 1) ^ _mm256_extract_epi64(sum, 2) ^
                  _mm256_extract_epi64(sum, 3));
}

double probe_fma_avx2(uint64_t rounds, float* sink) {
  __m256 a[12];
  for (int i = 0; i < 12; ++i) a[i] = _mm256_set1_ps(float(i));
  const __m256 x = _mm256_set1_ps(*sink), y = _mm256_set1_ps(1e-9f);
  for (uint64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) a[i] = _mm256_fmadd_ps(a[i], x, y);
  }
  for (int i = 1; i < 12; ++i) a[0] = _mm256_add_ps(a[0], a[i]);
  *sink = _mm256_cvtss_f32(a[0]);
  return double(rounds) * 12 * 8 * 2;
}

double probe_int8_avx2(uint64_t rounds, int32_t* sink) {
  __m256i a[6];
  for (int i = 0; i < 6; ++i) a[i] = _mm256_set1_epi32(i);
  __m256i x = _mm256_set1_epi8(char(*sink & 15));
  const __m256i ones = _mm256_set1_epi16(1);
  for (uint64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const __m256i product = _mm256_maddubs_epi16(x, a[i]);
      a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(product, ones));
    }
  }
  for (int i = 1; i < 6; ++i) a[0] = _mm256_add_epi32(a[0], a[i]);
  *sink = _mm256_cvtsi256_si32(a[0]);
  return double(rounds) * 6 * 32 * 2;
}

}  // namespace vibee
