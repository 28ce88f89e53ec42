// SPDX-License-Identifier: Apache-2.0
// What the kernels of AMX multiply by: a panel's codes as signed bytes, from which zero points are taken, behind the
// scales that their sums meet. Included by qgemm_*amx.cc only.
#pragma once

#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/gemm/qgemm_avx512.h"

namespace vibee {
namespace {

/// What sums of a format meet.
enum class Meets : uint8_t {
  scale,          ///< dw
  scale_offset,   ///< dw, mw
  scale_zero,     ///< dw, zero: any byte, which codes that it was taken from would not hold
  halves,         ///< dw, sc0, sc1
  halves_offset,  ///< dw, sc0, sc1, mw, mn0, mn1
  split,          ///< dw0, dw1
  group,          ///< dw of several blocks
  row             ///< the zero points' products, as integers
};
template <Format F>
constexpr Meets meets() {
  constexpr PanelHeader H = panel_layout(F).header;
  if (has_row_scales(H)) return Meets::row;
  if (has_four_bit_rows(H)) return Meets::group;
  if (H == PanelHeader::k6) return Meets::halves;
  if (H == PanelHeader::k2) return Meets::halves_offset;
  if (H == PanelHeader::e4) return Meets::split;
  if (has_zeros(H)) return Meets::scale_zero;
  return has_min(H) ? Meets::scale_offset : Meets::scale;
}
/// Vectors of 16 scales before a block's codes, and blocks that are one sum.
constexpr uint32_t kScales[] = {1, 2, 2, 3, 6, 2, 1, 1};
template <Format F>
constexpr uint32_t kBlockBytes = 64 * kScales[size_t(meets<F>())] + 512;
template <Format F>
constexpr uint32_t kBlocksASum = meets<F>() == Meets::group ? superblock(panel_layout(F).header) / 32 : 1;

inline void store64(uint8_t* p, __m512i v) { _mm512_storeu_si512(p, v); }
inline void store64(uint8_t* p, __m512 v) { _mm512_storeu_ps(p, v); }

/// Blocks of a panel: the scales that their sums meet, then codes [8 groups of 4 k][16 rows][4].
template <Format F>
void unpack_blocks(const uint8_t* panel, uint32_t k, uint8_t* to) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr Meets M = meets<F>();
  constexpr uint32_t kBlocks = superblock(H) / 32, kBytes = code_bytes(C, 16);
  const uint8_t* at = panel;
  const uint32_t supers = k / superblock(H);
  for (uint32_t super = 0; super < supers; ++super) {
    const bool kept = kLayout.keeps_last && super + 1 == supers;
    const __m512 d = has_float_scales(H)    ? load_floats16(at)
                     : H == PanelHeader::e8 ? load_e8m0(at)
                     : H == PanelHeader::e4 ? _mm512_setzero_ps()
                                            : load_half16(at);
    const __m512 second = has_offsets(H) ? load_floats16(at + 64)
                          : has_min(H)   ? load_half16(at + 32)
                                         : _mm512_setzero_ps();
    __m512i zero = _mm512_set1_epi8(char(kept ? kKeptZero : kLayout.zero)), scale = zero, products = zero;
    if constexpr (M == Meets::row) {
      const __m512i both = load_u8x16(at + 32);
      scale = _mm512_add_epi32(_mm512_and_si512(both, _mm512_set1_epi32(15)), _mm512_set1_epi32(1));
      products = _mm512_mullo_epi16(_mm512_srli_epi32(both, 4), scale);
      scale = _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16));
    }
    const uint8_t* codes = at + header_bytes(H, 16);
    const uint8_t* high = codes + kBlocks * kBytes;  // of what is kept in bytes
    for (uint32_t j = 0; j < kBlocks; ++j, codes += kBytes, high += kBytes, to += kBlockBytes<F>) {
      if constexpr (M == Meets::row) {
        store64(to, products);
      } else if constexpr (M == Meets::split) {
        store64(to, load_e4m3(at));
        store64(to + 64, load_e4m3(at + 16));
      } else if constexpr (H == PanelHeader::ks) {
        store64(to, _mm512_mul_ps(d, floats(load_i8x16(at + 32 + 16 * j))));
      } else if constexpr (H == PanelHeader::k) {
        store64(to, _mm512_mul_ps(d, floats(load_u8x16(at + 64 + 16 * j))));
        const __m512 offset = _mm512_mul_ps(second, floats(load_u8x16(at + 192 + 16 * j)));
        store64(to + 64, _mm512_sub_ps(_mm512_setzero_ps(), offset));
      } else if constexpr (M == Meets::halves) {
        store64(to, d);
        store64(to + 64, floats(load_i8x16(at + 32 + 32 * j)));
        store64(to + 128, floats(load_i8x16(at + 48 + 32 * j)));
      } else if constexpr (M == Meets::halves_offset) {  // minima negated as -S is
        const __m512i first = load_u8x16(at + 64 + 32 * j), last = load_u8x16(at + 80 + 32 * j);
        const __m512i low = _mm512_set1_epi32(15), none = _mm512_setzero_si512();
        store64(to, d);
        store64(to + 64, floats(_mm512_and_si512(first, low)));
        store64(to + 128, floats(_mm512_and_si512(last, low)));
        store64(to + 192, _mm512_xor_ps(second, _mm512_set1_ps(-0.0f)));
        store64(to + 256, floats(_mm512_sub_epi32(none, _mm512_srli_epi32(first, 4))));
        store64(to + 320, floats(_mm512_sub_epi32(none, _mm512_srli_epi32(last, 4))));
      } else {
        store64(to, d);
        if constexpr (M == Meets::scale_offset) store64(to + 64, second);
        if constexpr (M == Meets::scale_zero) store64(to + 64, floats(load_u8x16(at + 64)));
      }
      uint8_t* const out = to + kBlockBytes<F> - 512;
#pragma GCC unroll 4
      for (uint32_t p = 0; p < 4; ++p) {
        __m512i lo, hi;
        unpack_pair<C>(codes, p, &lo, &hi);
        if constexpr (M == Meets::row) {  // up to 15 * 16, without a sign
          lo = _mm512_mullo_epi16(lo, scale);
          hi = _mm512_mullo_epi16(hi, scale);
        } else if constexpr (M != Meets::scale_zero) {
          if (kept) {
            __m512i upper_lo, upper_hi;
            unpack_pair<C>(high, p, &upper_lo, &upper_hi);
            lo = _mm512_or_si512(lo, _mm512_slli_epi16(upper_lo, 4));
            hi = _mm512_or_si512(hi, _mm512_slli_epi16(upper_hi, 4));
          }
          lo = _mm512_sub_epi8(lo, zero);
          hi = _mm512_sub_epi8(hi, zero);
        }
        store64(out + 64 * p, lo);
        store64(out + 64 * (p + 4), hi);
      }
    }
    at = codes;
  }
}

}  // namespace
}  // namespace vibee
