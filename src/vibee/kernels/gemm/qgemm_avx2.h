// SPDX-License-Identifier: Apache-2.0
// The AVX2 micro-kernel of the integer matmul: M rows x 8 outputs (tree/precision.md S4, families A and B). Unsigned
// codes of up to 6 bits are summed in int16 for as long as the bound below allows; signed bytes move their sign to the
// activation. One format an object: qgemm_<format>_avx2.cc instantiates it.
#pragma once

#include <immintrin.h>

#include "vibee/formats/codebook/tables.h"
#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/gemm/prefetch_ahead.h"

namespace vibee {
namespace {

/// A sum that is not taken apart: GCC would add its terms in a tree, for which it spills every product of a block.
inline __m256i settled(__m256i sum) {
  asm("" : "+x"(sum));
  return sum;
}
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
inline __m256 load_floats8(const uint8_t* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
inline __m256i load_u8x8(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_i8x8(const uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

/// E8M0 bytes to halves of their powers of two: e8m0_half, 8 at once.
inline __m256 load_e8m0(const uint8_t* p) {
  const __m256i e = load_u8x8(p);
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
}
/// Seven-bit E4M3 to halves of their values: the bits of a half 2^8 smaller.
inline __m256 load_e4m3(const uint8_t* p) {
  const __m128i c = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(c, 7)), _mm256_set1_ps(128.0f));
}
/// The value of each of 32 4-bit codes, plus `zero`.
template <Codes C>
inline __m256i look_up(__m256i codes, uint8_t zero) {
  const int8_t* table = C == Codes::iq4 ? kIq4Values : kE2m1Doubled;
  const __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return _mm256_shuffle_epi8(_mm256_add_epi8(values, _mm256_set1_epi8(char(zero))), codes);
}

/// The largest unsigned code, and the groups of four k whose products fit an int16 sum: max_code * 127 * 2 a group.
constexpr int max_code(Codes codes) {
  switch (codes) {
    case Codes::u2: return 3;
    case Codes::u3: return 7;
    case Codes::u4: return 15;
    case Codes::e2m1: return 24;
    case Codes::u5: return 31;
    case Codes::u7: return 127;
    default: return 63;
  }
}
constexpr uint32_t groups_per_flush(Codes codes) {
  uint32_t groups = 8;
  while (max_code(codes) * 127 * 2 * int(groups) > 32767) groups /= 2;
  return groups;
}
static_assert(groups_per_flush(Codes::u4) == 8 && groups_per_flush(Codes::u5) == 4 && groups_per_flush(Codes::u6) == 2);

/// Bytes of 16 bits moved so that bit `From` comes to bit `To`.
template <int From, int To>
inline __m256i move_bits(__m256i x) {
  if constexpr (To > From) return _mm256_slli_epi16(x, To - From);
  if constexpr (To < From) return _mm256_srli_epi16(x, From - To);
  return x;
}

/// The unsigned codes of k-group g (k = 4g .. 4g+3) of a 32-block, 8 rows x 4 bytes.
template <Codes C>
inline __m256i unpack_group(const uint8_t* codes, uint32_t g) {
  constexpr CodeParts kParts = code_parts(C);
  __m256i u = _mm256_setzero_si256();
  if constexpr (kParts.nibbles) {
    const __m256i word = load32(codes + 32 * (g % 4));
    u = _mm256_and_si256(g < 4 ? word : _mm256_srli_epi16(word, 4), _mm256_set1_epi8(15));
    codes += 128;
  }
  if constexpr (kParts.pair_bit >= 0) {
    constexpr int kTo = kParts.pair_bit;
    const __m256i pairs = load32(codes + 32 * (g / 4));
    const uint32_t j = g % 4;
    const __m256i moved = j == 0   ? move_bits<0, kTo>(pairs)
                          : j == 1 ? move_bits<2, kTo>(pairs)
                          : j == 2 ? move_bits<4, kTo>(pairs)
                                   : move_bits<6, kTo>(pairs);
    const __m256i pair = _mm256_and_si256(moved, _mm256_set1_epi8(3 << kTo));
    u = kParts.nibbles ? _mm256_or_si256(u, pair) : pair;
    codes += 64;
  }
  if constexpr (kParts.single_bit >= 0) {
    constexpr int kTo = kParts.single_bit;
    const __m256i lanes = load32(codes);
    const __m256i moved = g == 0   ? move_bits<0, kTo>(lanes)
                          : g == 1 ? move_bits<1, kTo>(lanes)
                          : g == 2 ? move_bits<2, kTo>(lanes)
                          : g == 3 ? move_bits<3, kTo>(lanes)
                          : g == 4 ? move_bits<4, kTo>(lanes)
                          : g == 5 ? move_bits<5, kTo>(lanes)
                          : g == 6 ? move_bits<6, kTo>(lanes)
                                   : move_bits<7, kTo>(lanes);
    u = _mm256_or_si256(u, _mm256_and_si256(moved, _mm256_set1_epi8(char(1 << kTo))));
  }
  if constexpr (C == Codes::e2m1) u = look_up<C>(u, panel_layout(Format::mxfp4).zero);
  return u;
}
/// The signed bytes of k-group g.
template <Codes C>
inline __m256i signed_group(const uint8_t* codes, uint32_t g) {
  if constexpr (C == Codes::s8) return load32(codes + 32 * g);
  return look_up<C>(unpack_group<C>(codes, g), 0);
}

/// Bytes of a 32-block whose codes are unpacked: 8 k-groups of 8 rows x 4.
inline constexpr uint32_t kUnpackedBlock = 256;
/// A panel's codes as bytes, block behind block without headers: what every tile of many rows would unpack again.
template <Format F>
void unpack_panel(const uint8_t* panel, uint32_t k, uint8_t* bytes) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr uint32_t kBlocks = superblock(kLayout.header) / 32;
  for (uint32_t super = 0; super < k / superblock(kLayout.header); ++super) {
    panel += header_bytes(kLayout.header, 8);
    for (uint32_t j = 0; j < kBlocks; ++j, panel += code_bytes(kLayout.codes, 8), bytes += kUnpackedBlock)
#pragma GCC unroll 8
      for (uint32_t g = 0; g < 8; ++g) {
        const __m256i u =
            is_signed(kLayout.codes) ? signed_group<kLayout.codes>(panel, g) : unpack_group<kLayout.codes>(panel, g);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes + 32 * g), u);
      }
  }
}

/// Where a tile reads the codes of a block: in the panel, or unpacked.
template <Codes C, bool kUnpacked>
struct BlockCodes {
  const uint8_t* panel;
  const uint8_t* bytes;
  __m256i unsigned_group(uint32_t g) const { return kUnpacked ? load32(bytes + 32 * g) : unpack_group<C>(panel, g); }
  __m256i signed_group(uint32_t g) const {
    return kUnpacked ? load32(bytes + 32 * g) : vibee::signed_group<C>(panel, g);
  }
  void next() {
    panel += code_bytes(C, 8);
    bytes += kUnpacked ? kUnpackedBlock : 0;
  }
};

/// -S times the zero point.
template <uint32_t kZero>
inline __m256i times_zero(__m256i ns) {
  if constexpr (kZero == 0) return _mm256_setzero_si256();
  if constexpr ((kZero & (kZero - 1)) == 0) return _mm256_slli_epi32(ns, __builtin_ctz(kZero | 256));
  return _mm256_mullo_epi32(ns, _mm256_set1_epi32(kZero));
}

/// Where rows have one scale, all of k is one integer sum: a block's sums in int16 meet the group's integer scale as
/// they are widened, -S its product with the zero point.
template <Format F, uint32_t G, uint32_t M>
void tile_whole_rows(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  static_assert(groups_per_flush(C) == 8);
  using Record = ActRecord<G>;
  __m256i sum[M];
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_setzero_si256();
  const uint8_t* act = group;
  const uint8_t* codes = panel;
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m256i both = load_u8x8(codes + 16);
    const __m256i scale = _mm256_add_epi32(_mm256_and_si256(both, _mm256_set1_epi32(15)), _mm256_set1_epi32(1));
    const __m256i pair = _mm256_or_si256(scale, _mm256_slli_epi32(scale, 16));
    const __m256i zeros = _mm256_mullo_epi16(_mm256_srli_epi32(both, 4), scale);
    codes += header_bytes(H, 8);
    for (uint32_t j = 0; j < kBlocks; ++j, codes += code_bytes(C, 8), act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 8>(codes);
      const uint8_t* q = act + Record::q + 32 * row0;
      __m256i sum16[M];
#pragma GCC unroll 8
      for (uint32_t g = 0; g < 8; ++g) {
        const __m256i u = unpack_group<C>(codes, g);
#pragma GCC unroll 6
        for (uint32_t m = 0; m < M; ++m) {
          const __m256i product = _mm256_maddubs_epi16(u, broadcast32(q + 32 * m + 4 * g));
          sum16[m] = settled(g == 0 ? product : _mm256_add_epi16(sum16[m], product));
        }
      }
#pragma GCC unroll 6
      for (uint32_t m = 0; m < M; ++m) {
        const __m256i ns = broadcast32(act + Record::ns + 4 * (row0 + m));
        sum[m] =
            _mm256_add_epi32(sum[m], _mm256_add_epi32(_mm256_madd_epi16(sum16[m], pair), _mm256_madd_epi16(ns, zeros)));
      }
    }
  }
  const __m256 scale = load_half8(panel);
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) {
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), scale);
    _mm256_storeu_ps(out + 8 * m, _mm256_mul_ps(scaled, broadcast_float(group + Record::da + 4 * (row0 + m))));
  }
}

/// Where rows have four bits in the weight's groups: a code times another is at most 15 * 8, so all of a group is
/// summed in int16. The last group may have bytes on both sides, which meet as signed ones do below.
template <Format F, uint32_t G, uint32_t M>
void tile_groups(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32, kBytes = code_bytes(C, 8);
  static_assert(max_code(C) * 8 * 2 * 8 * int(kBlocks) <= 32767);
  using Record = ActRecord<G>;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 acc[M];
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  const uint32_t supers = k / superblock(H);
  for (uint32_t super = 0; super < supers - (kLayout.keeps_last ? 1 : 0); ++super) {
    const __m256 d = load_half8(at);
    const uint8_t* codes = at + header_bytes(H, 8);
    const uint8_t* const first = act;
    __m256i sum16[M];
#pragma GCC unroll 6
    for (uint32_t m = 0; m < M; ++m) sum16[m] = _mm256_setzero_si256();
    for (uint32_t j = 0; j < kBlocks; ++j, codes += kBytes, act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 8>(codes);
      const uint8_t* q = act + Record::q + 32 * row0;
#pragma GCC unroll 8
      for (uint32_t g = 0; g < 8; ++g) {
        const __m256i u = unpack_group<C>(codes, g);
#pragma GCC unroll 6
        for (uint32_t m = 0; m < M; ++m)
          sum16[m] = settled(_mm256_add_epi16(sum16[m], _mm256_maddubs_epi16(u, broadcast32(q + 32 * m + 4 * g))));
      }
    }
#pragma GCC unroll 6
    for (uint32_t m = 0; m < M; ++m) {
      const __m256i zero = times_zero<kLayout.zero>(broadcast32(first + Record::ns + 4 * (row0 + m)));
      const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(sum16[m], ones), zero);
      acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), d),
                               broadcast_float(first + Record::da + 4 * (row0 + m)), acc[m]);
    }
    at = codes;
  }
  if constexpr (kLayout.keeps_last) {
    const uint8_t* codes = at + header_bytes(H, 8);
    const uint8_t* high = codes + kBlocks * kBytes;
    const uint8_t* const first = act;
    __m256i sum[M];
#pragma GCC unroll 6
    for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_setzero_si256();
    for (uint32_t j = 0; j < kBlocks; ++j, codes += kBytes, high += kBytes, act += Record::bytes) {
      const uint8_t* q = act + Record::q + 32 * row0;
#pragma GCC unroll 8
      for (uint32_t g = 0; g < 8; ++g) {
        const __m256i upper = _mm256_slli_epi16(unpack_group<C>(high, g), 4);  // of nibbles: no bit leaves its byte
        const __m256i w =
            _mm256_xor_si256(_mm256_or_si256(unpack_group<C>(codes, g), upper), _mm256_set1_epi8(char(kKeptZero)));
        const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 6
        for (uint32_t m = 0; m < M; ++m) {
          const __m256i signed_q = _mm256_sign_epi8(broadcast32(q + 32 * m + 4 * g), w);
          sum[m] =
              settled(_mm256_add_epi32(sum[m], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_q), ones)));
        }
      }
    }
    const __m256 d = load_half8(at);
#pragma GCC unroll 6
    for (uint32_t m = 0; m < M; ++m)
      acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), d),
                               broadcast_float(first + Record::da + 4 * (row0 + m)), acc[m]);
  }
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) _mm256_storeu_ps(out + 8 * m, acc[m]);
}

/// Two integers of 16 bits a row, the second in the upper half: what vpmaddwd multiplies by two others and adds.
inline __m256i pair16(__m256i low, __m256i high) { return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa); }

template <Format F, uint32_t G, uint32_t M, bool kUnpacked>
void tile_blocks(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0,
                 float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr Codes C = kLayout.codes;
  constexpr PanelHeader H = kLayout.header;
  constexpr uint32_t kBlocks = superblock(H) / 32;
  using Record = ActRecord<G>;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 acc[M];
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  const uint8_t* act = group;
  const uint8_t* at = panel;
  BlockCodes<C, kUnpacked> codes{panel, bytes};
  for (uint32_t super = 0; super < k / superblock(H); ++super) {
    const __m256 d = has_float_scales(H)    ? load_floats8(at)
                     : H == PanelHeader::e8 ? load_e8m0(at)
                     : H == PanelHeader::e4 ? _mm256_setzero_ps()
                                            : load_half8(at);
    const __m256 second = has_offsets(H) ? load_floats8(at + 32)
                          : has_min(H)   ? load_half8(at + 16)
                                         : _mm256_setzero_ps();
    const __m256i zeros = has_zeros(H) ? load_u8x8(at + 32) : _mm256_setzero_si256();
    codes.panel = at + header_bytes(H, 8);
    for (uint32_t j = 0; j < kBlocks; ++j, codes.next(), act += Record::bytes) {
      if constexpr (M == 1) prefetch_ahead<F, 8>(codes.panel);
      const uint8_t* q = act + Record::q + 32 * row0;
      // -S of the two halves of row m.
      const auto sums_of_both = [&](const uint8_t* record, uint32_t m) {
        const __m256i ns = broadcast32(record + Record::ns + 4 * (row0 + m));
        const __m256i ns0 = broadcast32(record + Record::ns0 + 4 * (row0 + m));
        return pair16(ns0, _mm256_sub_epi32(ns, ns0));
      };
      __m256i sum[M];
#pragma GCC unroll 6
      for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_setzero_si256();
      if constexpr (is_signed(C)) {
#pragma GCC unroll 8
        for (uint32_t g = 0; g < 8; ++g) {
          const __m256i w = codes.signed_group(g), magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 6
          for (uint32_t m = 0; m < M; ++m) {
            const __m256i signed_q = _mm256_sign_epi8(broadcast32(q + 32 * m + 4 * g), w);
            sum[m] =
                settled(_mm256_add_epi32(sum[m], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_q), ones)));
          }
        }
      } else {
        constexpr uint32_t kHalves = halves(H) ? 2 : 1;  // sub-scales a block
        constexpr uint32_t kFlush = groups_per_flush(C) < 8 / kHalves ? groups_per_flush(C) : 8 / kHalves;
        // Halves with integer scales meet them as their sums are widened, their zero points -S of both at once.
        constexpr bool kScaled = H == PanelHeader::k6 || H == PanelHeader::k2;
        if constexpr (H == PanelHeader::k6) {
          const __m256i zero = _mm256_set1_epi32(kLayout.zero);
          const __m256i zeros_of_both = pair16(_mm256_mullo_epi16(load_i8x8(at + 16 + 16 * j), zero),
                                               _mm256_mullo_epi16(load_i8x8(at + 24 + 16 * j), zero));
#pragma GCC unroll 6
          for (uint32_t m = 0; m < M; ++m) sum[m] = _mm256_madd_epi16(sums_of_both(act, m), zeros_of_both);
        }
#pragma GCC unroll 2
        for (uint32_t half = 0; half < kHalves; ++half) {
          __m256i widen = ones;
          if constexpr (H == PanelHeader::k6) widen = load_i8x8(at + 16 + 8 * (2 * j + half));
          if constexpr (H == PanelHeader::k2)
            widen = _mm256_and_si256(load_u8x8(at + 32 + 8 * (2 * j + half)), _mm256_set1_epi32(15));
          if constexpr (kScaled) widen = pair16(widen, widen);
          __m256i part[M];
#pragma GCC unroll 6
          for (uint32_t m = 0; m < M; ++m) {
            if constexpr (kScaled) {
              part[m] = sum[m];
            } else {
              const __m256i ns = broadcast32(act + Record::ns + 4 * (row0 + m));
              const __m256i ns0 = broadcast32(act + Record::ns0 + 4 * (row0 + m));
              const __m256i mine = kHalves == 1 ? ns : half == 0 ? ns0 : _mm256_sub_epi32(ns, ns0);
              part[m] = has_zeros(H) ? _mm256_mullo_epi32(mine, zeros) : times_zero<kLayout.zero>(mine);
            }
          }
#pragma GCC unroll 4
          for (uint32_t f = 0; f < 8 / kHalves / kFlush; ++f) {
            __m256i sum16[M];
#pragma GCC unroll 8
            for (uint32_t i = 0; i < kFlush; ++i) {
              const uint32_t g = half * 4 + f * kFlush + i;
              const __m256i u = codes.unsigned_group(g);
#pragma GCC unroll 6
              for (uint32_t m = 0; m < M; ++m) {
                const __m256i product = _mm256_maddubs_epi16(u, broadcast32(q + 32 * m + 4 * g));
                sum16[m] = settled(i == 0 ? product : _mm256_add_epi16(sum16[m], product));
              }
            }
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m) part[m] = _mm256_add_epi32(part[m], _mm256_madd_epi16(sum16[m], widen));
          }
          if constexpr (H == PanelHeader::e4) {
            const __m256 dw = load_e4m3(at + 8 * half);
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m)
              acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(part[m]), dw),
                                       broadcast_float(act + Record::da + 4 * (row0 + m)), acc[m]);
          } else {
#pragma GCC unroll 6
            for (uint32_t m = 0; m < M; ++m) sum[m] = part[m];
          }
        }
      }
      if constexpr (H == PanelHeader::e4) continue;  // added half by half above
      __m256 dw = d, mw = second;
      if constexpr (H == PanelHeader::ks) dw = _mm256_mul_ps(d, _mm256_cvtepi32_ps(load_i8x8(at + 16 + 8 * j)));
      if constexpr (H == PanelHeader::k) {
        dw = _mm256_mul_ps(d, _mm256_cvtepi32_ps(load_u8x8(at + 32 + 8 * j)));
        mw = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(second, _mm256_cvtepi32_ps(load_u8x8(at + 96 + 8 * j))));
      }
#pragma GCC unroll 6
      for (uint32_t m = 0; m < M; ++m) {
        const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), dw);
        acc[m] = _mm256_fmadd_ps(scaled, broadcast_float(act + Record::da + 4 * (row0 + m)), acc[m]);
        if constexpr (has_min(H) && H != PanelHeader::k2)
          acc[m] = _mm256_fmadd_ps(mw, broadcast_float(act + Record::das + 4 * (row0 + m)), acc[m]);
      }
      if constexpr (H == PanelHeader::k2) {  // minima of the halves: negated as -S is
        const __m256i minima = pair16(_mm256_srli_epi32(load_u8x8(at + 32 + 16 * j), 4),
                                      _mm256_srli_epi32(load_u8x8(at + 40 + 16 * j), 4));
        const __m256i negated = _mm256_sub_epi16(_mm256_setzero_si256(), minima);
        mw = _mm256_xor_ps(second, _mm256_set1_ps(-0.0f));
#pragma GCC unroll 6
        for (uint32_t m = 0; m < M; ++m) {
          const __m256i qsum = _mm256_madd_epi16(sums_of_both(act, m), negated);
          const __m256 da = broadcast_float(act + Record::da + 4 * (row0 + m));
          acc[m] = _mm256_fmadd_ps(mw, _mm256_mul_ps(da, _mm256_cvtepi32_ps(qsum)), acc[m]);
        }
      }
    }
    at = codes.panel;
  }
#pragma GCC unroll 6
  for (uint32_t m = 0; m < M; ++m)
    _mm256_storeu_ps(out + 8 * m, kLayout.row_scale ? _mm256_mul_ps(acc[m], load_floats8(at)) : acc[m]);
}

template <Format F, uint32_t G, uint32_t M, bool kUnpacked>
void tile(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  if constexpr (act_rule(F) == ActRule::row) {
    tile_whole_rows<F, G, M>(panel, k, group, row0, out);
  } else if constexpr (act_rule_group(act_rule(F)) != 0) {
    tile_groups<F, G, M>(panel, k, group, row0, out);
  } else {
    tile_blocks<F, G, M, kUnpacked>(panel, bytes, k, group, row0, out);
  }
}
template <Format F, uint32_t G, uint32_t M>
void tile_entry(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t row0, float* out) {
  tile<F, G, M, false>(panel, nullptr, k, group, row0, out);
}

/// Rows row0 .. row0+m of a group of the most rows; the codes of the panel unpacked.
template <Format F, uint32_t... I>
void unpacked_dispatch(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0,
                       uint32_t m, float* out, std::integer_sequence<uint32_t, I...>) {
  using TileFn = void (*)(const uint8_t*, const uint8_t*, uint32_t, const uint8_t*, uint32_t, float*);
  static constexpr TileFn kTiles[] = {tile<F, kActMaxGroup, I + 1, true>...};
  kTiles[m - 1](panel, bytes, k, group, row0, out);
}
template <Format F>
void unpacked_tile(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0,
                   uint32_t m, float* out) {
  unpacked_dispatch<F>(panel, bytes, k, group, row0, m, out, std::make_integer_sequence<uint32_t, 6>{});
}
/// Of codes that lie in more than one part; those of one part are unpacked in one or two instructions.
template <Format F>
constexpr UnpackedTile unpacked_kernel() {
  constexpr CodeParts kParts = code_parts(panel_layout(F).codes);
  if constexpr (kParts.nibbles + (kParts.pair_bit >= 0) + (kParts.single_bit >= 0) > 1 || kParts.pair_bit >= 0) {
    return {unpack_panel<F>, unpacked_tile<F>, kUnpackedBlock, kActMaxGroup, 6};
  } else {
    return {};
  }
}

}  // namespace
}  // namespace vibee

#include "vibee/kernels/gemm/qgemm_dispatch.h"

/// The kernels of one format.
#define VIBEE_QGEMM_AVX2(format)                                                                                \
  void qgemm_##format##_avx2(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, \
                             uint32_t m, float* out) {                                                          \
    tile_dispatch<Format::format, 6>(panel, k, group, g, row0, m, out);                                         \
  }                                                                                                             \
  const UnpackedTile qgemm_##format##_avx2_unpacked = unpacked_kernel<Format::format>();
