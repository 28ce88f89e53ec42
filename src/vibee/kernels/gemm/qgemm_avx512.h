// SPDX-License-Identifier: Apache-2.0
// The AVX-512 VNNI micro-kernel of the integer matmul: M rows x 16 outputs, 64 MAC an instruction (tree/precision.md
// S4). One format an object: qgemm_<format>_avx512.cc instantiates it. Codes are unsigned; a zero point enters as the
// starting value of the integer accumulator (-zero * S), so every format costs 8 vpdpbusd per 32 k and row.
#pragma once

#include <immintrin.h>

#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

inline __m512i load64(const uint8_t* p) { return _mm512_loadu_si512(p); }

/// The unsigned codes of k-group pair p (k = 4p.. and 4(p+4)..) of a 32-block; for s8 lo/hi are the groups p and p+4
/// themselves.
template <Codes C>
inline void unpack_pair(const uint8_t* codes, uint32_t p, __m512i* lo, __m512i* hi) {
  if constexpr (C == Codes::s8) {
    *lo = load64(codes + 64 * p);
    *hi = load64(codes + 64 * (p + 4));
    return;
  }
  const __m512i mask = _mm512_set1_epi8(15);
  const __m512i word = load64(codes + 64 * p);
  *lo = _mm512_and_si512(word, mask);
  *hi = _mm512_and_si512(_mm512_srli_epi16(word, 4), mask);
  if constexpr (C == Codes::u5) {
    const uint64_t* bits = reinterpret_cast<const uint64_t*>(codes + 256);
    const __m512i sixteen = _mm512_set1_epi8(16);
    *lo = _mm512_mask_add_epi8(*lo, _cvtu64_mask64(bits[p]), *lo, sixteen);
    *hi = _mm512_mask_add_epi8(*hi, _cvtu64_mask64(bits[p + 4]), *hi, sixteen);
  }
  if constexpr (C == Codes::u6) {
    const __m512i two = _mm512_set1_epi8(0x30);
    const __m512i low_pairs = load64(codes + 256), high_pairs = load64(codes + 320);
    const auto field = [&](__m512i pairs) {
      const __m512i moved = p == 0   ? _mm512_slli_epi16(pairs, 4)
                            : p == 1 ? _mm512_slli_epi16(pairs, 2)
                            : p == 2 ? pairs
                                     : _mm512_srli_epi16(pairs, 2);
      return _mm512_and_si512(moved, two);
    };
    *lo = _mm512_or_si512(*lo, field(low_pairs));
    *hi = _mm512_or_si512(*hi, field(high_pairs));
  }
}

inline __m512i broadcast32(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}
inline __m512 broadcast_float(const void* p) {
  float v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_ps(v);
}
inline __m512 load_half16(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512i load_u8x16(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m512i load_i8x16(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// out[m][16] = rows row0.. of a group of G rows times one panel.
template <Format F, uint32_t G, uint32_t M>
inline __attribute__((always_inline)) void tile_rows(const uint8_t* panel, uint32_t k, const uint8_t* group,
                                                     uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr Header H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  constexpr uint32_t kShift = C == Codes::s8 ? 7 : kLayout.zero_shift;
  using Record = ActRecord<G>;
  __m512 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm512_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m512 d = load_half16(at);
    const __m512 second = H == Header::dm || H == Header::k ? load_half16(at + 32) : _mm512_setzero_ps();
    const uint8_t* codes = at + header_bytes(H, 16);
    for (uint32_t j = 0; j < kBlocks; ++j, codes += code_bytes(C, 16), act += Record::bytes) {
      __m512 dw = d, mw = second;
      if constexpr (H == Header::k) {
        dw = _mm512_mul_ps(d, _mm512_cvtepi32_ps(load_u8x16(at + 64 + 16 * j)));
        mw = _mm512_sub_ps(_mm512_setzero_ps(),
                           _mm512_mul_ps(second, _mm512_cvtepi32_ps(load_u8x16(at + 192 + 16 * j))));
      }
      const uint8_t* q = act + Record::q + 32 * row0;
      __m512i sum[M];
      if constexpr (H == Header::k6) {  // two sub-scales a block: the low nibbles are the first half, the high ones the
                                        // second
        const __m512i sc0 = load_i8x16(at + 32 + 32 * j), sc1 = load_i8x16(at + 48 + 32 * j);
        __m512i lo[4], hi[4];
#pragma GCC unroll 4
        for (uint32_t p = 0; p < 4; ++p) unpack_pair<C>(codes, p, &lo[p], &hi[p]);
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m) {
          const __m512i ns = broadcast32(act + Record::ns + 4 * (row0 + m)),
                        ns0 = broadcast32(act + Record::ns0 + 4 * (row0 + m));
          __m512i first = _mm512_slli_epi32(ns0, kShift), last = _mm512_slli_epi32(_mm512_sub_epi32(ns, ns0), kShift);
#pragma GCC unroll 4
          for (uint32_t p = 0; p < 4; ++p) {
            first = _mm512_dpbusd_epi32(first, lo[p], broadcast32(q + 32 * m + 4 * p));
            last = _mm512_dpbusd_epi32(last, hi[p], broadcast32(q + 32 * m + 4 * (p + 4)));
          }
          sum[m] = _mm512_add_epi32(_mm512_mullo_epi32(first, sc0), _mm512_mullo_epi32(last, sc1));
        }
      } else {
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m)
          sum[m] = kShift ? _mm512_slli_epi32(broadcast32(act + Record::ns + 4 * (row0 + m)), kShift)
                          : _mm512_setzero_si512();
#pragma GCC unroll 4
        for (uint32_t p = 0; p < 4; ++p) {
          __m512i lo, hi;
          unpack_pair<C>(codes, p, &lo, &hi);
#pragma GCC unroll 12
          for (uint32_t m = 0; m < M; ++m) sum[m] = _mm512_dpbusd_epi32(sum[m], lo, broadcast32(q + 32 * m + 4 * p));
#pragma GCC unroll 12
          for (uint32_t m = 0; m < M; ++m)
            sum[m] = _mm512_dpbusd_epi32(sum[m], hi, broadcast32(q + 32 * m + 4 * (p + 4)));
        }
      }
#pragma GCC unroll 12
      for (uint32_t m = 0; m < M; ++m) {
        const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[m]), dw);
        acc[m] = _mm512_fmadd_ps(scaled, broadcast_float(act + Record::da + 4 * (row0 + m)), acc[m]);
        if constexpr (H == Header::dm || H == Header::k)
          acc[m] = _mm512_fmadd_ps(mw, broadcast_float(act + Record::das + 4 * (row0 + m)), acc[m]);
      }
    }
    at = codes;
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) _mm512_storeu_ps(out + 16 * m, acc[m]);
}

template <Format F, uint32_t G, uint32_t M>
void tile_entry(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  tile_rows<F, G, M>(panel, k, group, row0, out);
}

}  // namespace
}  // namespace vibee

#include "vibee/kernels/gemm/qgemm_dispatch.h"
