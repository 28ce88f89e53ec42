// SPDX-License-Identifier: Apache-2.0
// The AVX2 micro-kernel of the integer matmul: M rows x 8 outputs (tree/precision.md S4, families A and B). Unsigned
// codes of up to 6 bits are summed in int16 for as long as the bound below allows; signed bytes move their sign to the
// activation. One format an object: qgemm_<format>_avx2.cc instantiates it.
#pragma once

#include <immintrin.h>

#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

inline __m256i load32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i broadcast32(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}
inline __m256 broadcast_float(const void* p) { return _mm256_broadcast_ss(static_cast<const float*>(p)); }
inline __m256 load_half8(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_u8x8(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_i8x8(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

/// Groups of four k whose products fit an int16 sum: max_code * 127 * 2 per group.
constexpr uint32_t groups_per_flush(Codes codes) { return codes == Codes::u4 ? 8 : codes == Codes::u5 ? 4 : 2; }
static_assert(15 * 127 * 2 * 8 < 32768 && 31 * 127 * 2 * 4 < 32768 && 63 * 127 * 2 * 2 < 32768);

/// The unsigned codes of k-group g (k = 4g .. 4g+3) of a 32-block, 8 rows x 4 bytes.
template <Codes C>
inline __m256i unpack_group(const uint8_t* codes, uint32_t g) {
  const __m256i word = load32(codes + 32 * (g % 4));
  __m256i u = _mm256_and_si256(g < 4 ? word : _mm256_srli_epi16(word, 4), _mm256_set1_epi8(15));
  if constexpr (C == Codes::u5) {
    int32_t bits;
    __builtin_memcpy(&bits, codes + 128 + 4 * g, 4);
    const __m256i spread =
        _mm256_shuffle_epi8(_mm256_set1_epi32(bits), _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
                                                                      2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    const __m256i bit = _mm256_set1_epi64x(int64_t(0x8040201008040201ull));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    u = _mm256_or_si256(u, _mm256_and_si256(set, _mm256_set1_epi8(16)));
  }
  if constexpr (C == Codes::u6) {
    const __m256i pairs = load32(codes + 128 + 32 * (g / 4));
    const uint32_t j = g % 4;
    const __m256i moved = j == 0   ? _mm256_slli_epi16(pairs, 4)
                          : j == 1 ? _mm256_slli_epi16(pairs, 2)
                          : j == 2 ? pairs
                                   : _mm256_srli_epi16(pairs, 2);
    u = _mm256_or_si256(u, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)));
  }
  return u;
}

template <Format F, uint32_t G, uint32_t M>
void tile_entry(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr Header H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  using Record = ActRecord<G>;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 acc[M];
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m256 d = load_half8(at);
    const __m256 second = H == Header::dm || H == Header::k ? load_half8(at + 16) : _mm256_setzero_ps();
    const uint8_t* codes = at + header_bytes(H, 8);
    for (uint32_t j = 0; j < kBlocks; ++j, codes += code_bytes(C, 8), act += Record::bytes) {
      const uint8_t* q = act + Record::q + 32 * row0;
      __m256i sum[M];
#pragma GCC unroll 6
      for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_setzero_si256();
      if constexpr (C == Codes::s8) {
#pragma GCC unroll 8
        for (uint32_t g = 0; g < 8; ++g) {
          const __m256i w = load32(codes + 32 * g), magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 6
          for (uint32_t m = 0; m < M; ++m) {
            const __m256i signed_q = _mm256_sign_epi8(broadcast32(q + 32 * m + 4 * g), w);
            sum[m] = _mm256_add_epi32(sum[m], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_q), ones));
          }
        }
      } else {
        constexpr uint32_t kFlush = groups_per_flush(C);
        constexpr uint32_t kHalves = H == Header::k6 ? 2 : 1;  // sub-scales a block
#pragma GCC unroll 2
        for (uint32_t half = 0; half < kHalves; ++half) {
          __m256i part[M];
#pragma GCC unroll 6
          for (uint32_t m = 0; m < M; ++m) {
            const __m256i ns = broadcast32(act + Record::ns + 4 * (row0 + m));
            const __m256i ns0 = broadcast32(act + Record::ns0 + 4 * (row0 + m));
            const __m256i mine = kHalves == 1 ? ns : half == 0 ? ns0 : _mm256_sub_epi32(ns, ns0);
            part[m] = kLayout.zero_shift ? _mm256_slli_epi32(mine, kLayout.zero_shift) : _mm256_setzero_si256();
          }
#pragma GCC unroll 4
          for (uint32_t f = 0; f < 8 / kHalves / kFlush; ++f) {
            __m256i sum16[M];
#pragma GCC unroll 8
            for (uint32_t i = 0; i < kFlush; ++i) {
              const uint32_t g = half * 4 + f * kFlush + i;
              const __m256i u = unpack_group<C>(codes, g);
#pragma GCC unroll 6
              for (uint32_t m = 0; m < M; ++m) {
                const __m256i product = _mm256_maddubs_epi16(u, broadcast32(q + 32 * m + 4 * g));
                sum16[m] = i == 0 ? product : _mm256_add_epi16(sum16[m], product);
              }
            }
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m) part[m] = _mm256_add_epi32(part[m], _mm256_madd_epi16(sum16[m], ones));
          }
          if constexpr (H == Header::k6) {
            const __m256i sc = load_i8x8(at + 16 + 8 * (2 * j + half));
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_add_epi32(sum[m], _mm256_mullo_epi32(part[m], sc));
          } else {
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m) sum[m] = part[m];
          }
        }
      }
      __m256 dw = d, mw = second;
      if constexpr (H == Header::k) {
        dw = _mm256_mul_ps(d, _mm256_cvtepi32_ps(load_u8x8(at + 32 + 8 * j)));
        mw = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(second, _mm256_cvtepi32_ps(load_u8x8(at + 96 + 8 * j))));
      }
#pragma GCC unroll 6
      for (uint32_t m = 0; m < M; ++m) {
        const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), dw);
        acc[m] = _mm256_fmadd_ps(scaled, broadcast_float(act + Record::da + 4 * (row0 + m)), acc[m]);
        if constexpr (H == Header::dm || H == Header::k)
          acc[m] = _mm256_fmadd_ps(mw, broadcast_float(act + Record::das + 4 * (row0 + m)), acc[m]);
      }
    }
    at = codes;
  }
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) _mm256_storeu_ps(out + 8 * m, acc[m]);
}

}  // namespace
}  // namespace vibee

#include "vibee/kernels/gemm/qgemm_dispatch.h"
