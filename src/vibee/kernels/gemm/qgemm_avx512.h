// SPDX-License-Identifier: Apache-2.0
// The AVX-512 VNNI micro-kernel of the integer matmul: M rows x 16 outputs, 64 MAC an instruction (tree/precision.md
// S4). One format an object: qgemm_<format>_avx512.cc instantiates it. Codes are unsigned; a zero point enters as the
// starting value of the integer accumulator (-zero * S), so every format costs 8 vpdpbusd per 32 k and row.
#pragma once

#include <immintrin.h>

#include "vibee/formats/codebook/tables.h"
#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/gemm/prefetch_ahead.h"

namespace vibee {
namespace {

inline __m512i load64(const uint8_t* p) { return _mm512_loadu_si512(p); }

/// The value of each of 64 4-bit codes, plus `zero`.
template <Codes C>
inline __m512i look_up(__m512i codes, uint8_t zero) {
  const int8_t* table = C == Codes::iq4 ? kIq4Values : kE2m1Doubled;
  const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return _mm512_shuffle_epi8(_mm512_add_epi8(values, _mm512_set1_epi8(char(zero))), codes);
}

/// Bytes of 16 bits moved so that bit `From` comes to bit `To`.
template <int From, int To>
inline __m512i move_bits(__m512i x) {
  if constexpr (To > From) return _mm512_slli_epi16(x, To - From);
  if constexpr (To < From) return _mm512_srli_epi16(x, From - To);
  return x;
}

/// The unsigned codes of k-group pair p (k = 4p.. and 4(p+4)..) of a 32-block; for s8 lo/hi are the groups p and p+4
/// themselves.
template <Codes C>
inline void unpack_pair(const uint8_t* codes, uint32_t p, __m512i* lo, __m512i* hi) {
  if constexpr (C == Codes::s8) {
    *lo = load64(codes + 64 * p);
    *hi = load64(codes + 64 * (p + 4));
    return;
  }
  constexpr CodeParts kParts = code_parts(C);
  *lo = *hi = _mm512_setzero_si512();
  if constexpr (kParts.nibbles) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i word = load64(codes + 64 * p);
    *lo = _mm512_and_si512(word, mask);
    *hi = _mm512_and_si512(_mm512_srli_epi16(word, 4), mask);
    codes += 256;
  }
  if constexpr (kParts.pair_bit >= 0) {
    constexpr int kTo = kParts.pair_bit;
    const __m512i two = _mm512_set1_epi8(3 << kTo);
    const auto field = [&](__m512i pairs) {
      const __m512i moved = p == 0   ? move_bits<0, kTo>(pairs)
                            : p == 1 ? move_bits<2, kTo>(pairs)
                            : p == 2 ? move_bits<4, kTo>(pairs)
                                     : move_bits<6, kTo>(pairs);
      return _mm512_and_si512(moved, two);
    };
    *lo = _mm512_or_si512(*lo, field(load64(codes)));
    *hi = _mm512_or_si512(*hi, field(load64(codes + 64)));
    codes += 128;
  }
  if constexpr (kParts.single_bit >= 0) {
    uint64_t bits[2];
    __builtin_memcpy(&bits[0], codes + 8 * p, 8);
    __builtin_memcpy(&bits[1], codes + 8 * (p + 4), 8);
    const __m512i bit = _mm512_set1_epi8(1 << kParts.single_bit);
    *lo = _mm512_mask_add_epi8(*lo, _cvtu64_mask64(bits[0]), *lo, bit);
    *hi = _mm512_mask_add_epi8(*hi, _cvtu64_mask64(bits[1]), *hi, bit);
  }
  if constexpr (C == Codes::iq4 || C == Codes::e2m1) {
    constexpr uint8_t kZero = panel_layout(C == Codes::iq4 ? Format::iq4_nl : Format::mxfp4).zero;
    *lo = look_up<C>(*lo, kZero);
    *hi = look_up<C>(*hi, kZero);
  }
}

/// -S times the zero point.
template <uint32_t kZero>
inline __m512i times_zero(__m512i ns) {
  if constexpr (kZero == 0) return _mm512_setzero_si512();
  if constexpr ((kZero & (kZero - 1)) == 0) return _mm512_slli_epi32(ns, __builtin_ctz(kZero | 256));
  return _mm512_mullo_epi32(ns, _mm512_set1_epi32(kZero));
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
inline __m512 load_floats16(const uint8_t* p) { return _mm512_loadu_ps(p); }
inline __m512i load_u8x16(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m512i load_i8x16(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// E8M0 bytes to halves of their powers of two: e8m0_half, 16 at once.
inline __m512 load_e8m0(const uint8_t* p) {
  const __m512i e = load_u8x16(p);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __m512i tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), normal, tiny));
}
/// Seven-bit E4M3 to halves of their values: the bits of a half 2^8 smaller.
inline __m512 load_e4m3(const uint8_t* p) {
  const __m256i c = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_slli_epi16(c, 7)), _mm512_set1_ps(128.0f));
}

inline __m512 floats(__m512i v) { return _mm512_cvtepi32_ps(v); }
/// first * a + last * b of integers. As floats every step is exact: 16 codes of at most 32 by 127, times 128, twice,
/// stay below 2^24; zero is added first, for a sum of integers is never -0.
inline __m512 add_halves(__m512i first, __m512 a, __m512i last, __m512 b) {
  return _mm512_fmadd_ps(floats(first), a, _mm512_fmadd_ps(floats(last), b, _mm512_setzero_ps()));
}

/// out[m][16] = rows row0.. of a group of G rows times one panel.
template <Format F, uint32_t G, uint32_t M>
inline __attribute__((always_inline)) void tile_rows(const uint8_t* panel, uint32_t k, const uint8_t* group,
                                                     uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  using Record = ActRecord<G>;
  __m512 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm512_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m512 d = has_float_scales(H)    ? load_floats16(at)
                     : H == PanelHeader::e8 ? load_e8m0(at)
                     : H == PanelHeader::e4 ? _mm512_setzero_ps()
                                            : load_half16(at);
    const __m512 second = has_offsets(H) ? load_floats16(at + 64)
                          : has_min(H)   ? load_half16(at + 32)
                                         : _mm512_setzero_ps();
    const __m512i zeros = has_zeros(H) ? load_u8x16(at + 64) : _mm512_setzero_si512();
    const uint8_t* codes = at + header_bytes(H, 16);
    for (uint32_t j = 0; j < kBlocks; ++j, codes += code_bytes(C, 16), act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 16>(codes);
      __m512 dw = d, mw = second;
      if constexpr (H == PanelHeader::ks) dw = _mm512_mul_ps(d, floats(load_i8x16(at + 32 + 16 * j)));
      if constexpr (H == PanelHeader::k) {
        dw = _mm512_mul_ps(d, floats(load_u8x16(at + 64 + 16 * j)));
        mw = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(second, floats(load_u8x16(at + 192 + 16 * j))));
      }
      const uint8_t* q = act + Record::q + 32 * row0;
      __m512i sum[M];
      if constexpr (halves(H)) {  // two sub-scales a block: the groups of `lo` are the first half, those of `hi` the
                                  // second, which meet as floats (add_halves)
        __m512 sc0, sc1, mn0, mn1;
        if constexpr (H == PanelHeader::k6) {
          sc0 = floats(load_i8x16(at + 32 + 32 * j)), sc1 = floats(load_i8x16(at + 48 + 32 * j));
        } else if constexpr (H == PanelHeader::k2) {  // minima negated as -S is
          const __m512i first = load_u8x16(at + 64 + 32 * j), last = load_u8x16(at + 80 + 32 * j);
          const __m512i low = _mm512_set1_epi32(15), zero = _mm512_setzero_si512();
          sc0 = floats(_mm512_and_si512(first, low)), sc1 = floats(_mm512_and_si512(last, low));
          mn0 = floats(_mm512_sub_epi32(zero, _mm512_srli_epi32(first, 4)));
          mn1 = floats(_mm512_sub_epi32(zero, _mm512_srli_epi32(last, 4)));
          mw = _mm512_xor_ps(second, _mm512_set1_ps(-0.0f));
        }
        __m512i lo[4], hi[4];
#pragma GCC unroll 4
        for (uint32_t p = 0; p < 4; ++p) unpack_pair<C>(codes, p, &lo[p], &hi[p]);
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m) {
          const __m512i ns = broadcast32(act + Record::ns + 4 * (row0 + m)),
                        ns0 = broadcast32(act + Record::ns0 + 4 * (row0 + m));
          const __m512i ns1 = _mm512_sub_epi32(ns, ns0);
          __m512i first = times_zero<kLayout.zero>(ns0), last = times_zero<kLayout.zero>(ns1);
#pragma GCC unroll 4
          for (uint32_t p = 0; p < 4; ++p) {
            first = _mm512_dpbusd_epi32(first, lo[p], broadcast32(q + 32 * m + 4 * p));
            last = _mm512_dpbusd_epi32(last, hi[p], broadcast32(q + 32 * m + 4 * (p + 4)));
          }
          const __m512 da = broadcast_float(act + Record::da + 4 * (row0 + m));
          if constexpr (H == PanelHeader::e4) {
            acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(first), load_e4m3(at)), da, acc[m]);
            acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(last), load_e4m3(at + 16)), da, acc[m]);
            continue;
          } else {
            acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(add_halves(first, sc0, last, sc1), dw), da, acc[m]);
          }
          if constexpr (H == PanelHeader::k2) {
            acc[m] = _mm512_fmadd_ps(mw, _mm512_mul_ps(da, add_halves(ns0, mn0, ns1, mn1)), acc[m]);
          }
        }
      } else {
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m) {
          const __m512i ns = broadcast32(act + Record::ns + 4 * (row0 + m));
          sum[m] = has_zeros(H) ? _mm512_mullo_epi32(ns, zeros) : times_zero<kLayout.zero>(ns);
        }
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
      if constexpr (halves(H)) continue;  // added above
#pragma GCC unroll 12
      for (uint32_t m = 0; m < M; ++m) {
        const __m512 scaled = _mm512_mul_ps(floats(sum[m]), dw);
        acc[m] = _mm512_fmadd_ps(scaled, broadcast_float(act + Record::da + 4 * (row0 + m)), acc[m]);
        if constexpr (has_min(H))
          acc[m] = _mm512_fmadd_ps(mw, broadcast_float(act + Record::das + 4 * (row0 + m)), acc[m]);
      }
    }
    at = codes;
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m)
    _mm512_storeu_ps(out + 16 * m, kLayout.row_scale ? _mm512_mul_ps(acc[m], load_floats16(at)) : acc[m]);
}

/// The same where rows have four bits in the weight's groups, or bytes in the last one: a group is one integer sum.
template <Format F, uint32_t G, uint32_t M>
inline __attribute__((always_inline)) void tile_groups(const uint8_t* panel, uint32_t k, const uint8_t* group,
                                                       uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32, kBytes = code_bytes(C, 16);
  using Record = ActRecord<G>;
  __m512 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm512_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  const uint32_t supers = k / superblock(H);
  for (uint32_t super = 0; super < supers; ++super) {
    const bool kept = kLayout.keeps_last && super + 1 == supers;
    const __m512 d = load_half16(at);
    const uint8_t* codes = at + header_bytes(H, 16);
    const uint8_t* const first = act;
    const uint8_t* high = codes + kBlocks * kBytes;  // where they are kept
    __m512i sum[M];
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m) {
      const __m512i ns = broadcast32(first + Record::ns + 4 * (row0 + m));
      sum[m] = kept ? times_zero<kKeptZero>(ns) : times_zero<kLayout.zero>(ns);
    }
    for (uint32_t j = 0; j < kBlocks; ++j, codes += kBytes, high += kBytes, act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 16>(codes);
      const uint8_t* q = act + Record::q + 32 * row0;
#pragma GCC unroll 4
      for (uint32_t p = 0; p < 4; ++p) {
        __m512i lo, hi;
        unpack_pair<C>(codes, p, &lo, &hi);
        if (kept) {
          __m512i upper_lo, upper_hi;
          unpack_pair<C>(high, p, &upper_lo, &upper_hi);
          lo = _mm512_or_si512(lo, _mm512_slli_epi16(upper_lo, 4));
          hi = _mm512_or_si512(hi, _mm512_slli_epi16(upper_hi, 4));
        }
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m) sum[m] = _mm512_dpbusd_epi32(sum[m], lo, broadcast32(q + 32 * m + 4 * p));
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m)
          sum[m] = _mm512_dpbusd_epi32(sum[m], hi, broadcast32(q + 32 * m + 4 * (p + 4)));
      }
    }
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m)
      acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(floats(sum[m]), d), broadcast_float(first + Record::da + 4 * (row0 + m)),
                               acc[m]);
    at = codes;
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) _mm512_storeu_ps(out + 16 * m, acc[m]);
}

/// The same where rows have one scale: a code times its group's integer scale is a byte without a sign (15 * 16), two
/// of them a multiplication of 16 bits, so all of k is one integer sum, which zero points enter as products with -S.
template <Format F, uint32_t G, uint32_t M>
inline __attribute__((always_inline)) void tile_whole_rows(const uint8_t* panel, uint32_t k, const uint8_t* group,
                                                           uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  using Record = ActRecord<G>;
  __m512i sum[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) sum[m] = _mm512_setzero_si512();
  const uint8_t* act = group;
  const uint8_t* codes = panel;
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m512i both = load_u8x16(codes + 32);
    const __m512i scale = _mm512_add_epi32(_mm512_and_si512(both, _mm512_set1_epi32(15)), _mm512_set1_epi32(1));
    const __m512i pair = _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16));
    const __m512i zeros = _mm512_mullo_epi16(_mm512_srli_epi32(both, 4), scale);
    codes += header_bytes(H, 16);
    for (uint32_t j = 0; j < kBlocks; ++j, codes += code_bytes(C, 16), act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 16>(codes);
      const uint8_t* q = act + Record::q + 32 * row0;
#pragma GCC unroll 12
      for (uint32_t m = 0; m < M; ++m)
        sum[m] = _mm512_dpwssd_epi32(sum[m], zeros, broadcast32(act + Record::ns + 4 * (row0 + m)));
#pragma GCC unroll 4
      for (uint32_t p = 0; p < 4; ++p) {
        __m512i lo, hi;
        unpack_pair<C>(codes, p, &lo, &hi);
        lo = _mm512_mullo_epi16(lo, pair);
        hi = _mm512_mullo_epi16(hi, pair);
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m) sum[m] = _mm512_dpbusd_epi32(sum[m], lo, broadcast32(q + 32 * m + 4 * p));
#pragma GCC unroll 12
        for (uint32_t m = 0; m < M; ++m)
          sum[m] = _mm512_dpbusd_epi32(sum[m], hi, broadcast32(q + 32 * m + 4 * (p + 4)));
      }
    }
  }
  const __m512 scale = load_half16(panel);
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) {
    const __m512 scaled = _mm512_mul_ps(floats(sum[m]), scale);
    _mm512_storeu_ps(out + 16 * m, _mm512_mul_ps(scaled, broadcast_float(group + Record::da + 4 * (row0 + m))));
  }
}

template <Format F, uint32_t G, uint32_t M>
void tile_entry(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  if constexpr (act_rule(F) == ActRule::row) {
    tile_whole_rows<F, G, M>(panel, k, group, row0, out);
  } else if constexpr (act_rule_group(act_rule(F)) != 0) {
    tile_groups<F, G, M>(panel, k, group, row0, out);
  } else {
    tile_rows<F, G, M>(panel, k, group, row0, out);
  }
}

}  // namespace
}  // namespace vibee

#include "vibee/kernels/gemm/qgemm_dispatch.h"
