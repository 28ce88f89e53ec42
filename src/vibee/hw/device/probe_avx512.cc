// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "vibee/hw/device/probe.h"

namespace vibee {

uint64_t probe_read_avx512(const uint8_t* data, uint64_t bytes) {
  const uint64_t quarter = bytes / 4 / 256 * 256;
  __m512i sum = _mm512_setzero_si512();
  for (uint64_t i = 0; i < quarter; i += 256)
    for (int stream = 0; stream < 4; ++stream)
      for (int j = 0; j < 4; ++j)
        sum = _mm512_xor_si512(sum, _mm512_loadu_si512(data + uint64_t(stream) * quarter + i + uint64_t(j) * 64));
  return uint64_t(_mm512_reduce_add_epi64(sum));
}

double probe_fma_avx512(uint64_t rounds, float* sink) {
  __m512 a[12];
  for (int i = 0; i < 12; ++i) a[i] = _mm512_set1_ps(float(i));
  const __m512 x = _mm512_set1_ps(*sink), y = _mm512_set1_ps(1e-9f);
  for (uint64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) a[i] = _mm512_fmadd_ps(a[i], x, y);
  }
  for (int i = 1; i < 12; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  *sink = _mm512_reduce_add_ps(a[0]);
  return double(rounds) * 12 * 16 * 2;
}

double probe_int8_avx512(uint64_t rounds, int32_t* sink) {
  __m512i a[12];
  for (int i = 0; i < 12; ++i) a[i] = _mm512_set1_epi32(i);
  __m512i x = _mm512_set1_epi8(char(*sink & 127));
  const __m512i y = _mm512_set1_epi8(3);
  for (uint64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) a[i] = _mm512_dpbusd_epi32(a[i], x, y);
  }
  for (int i = 1; i < 12; ++i) a[0] = _mm512_add_epi32(a[0], a[i]);
  *sink = _mm512_reduce_add_epi32(a[0]);
  return double(rounds) * 12 * 64 * 2;
}

}  // namespace vibee
