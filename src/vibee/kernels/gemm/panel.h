// SPDX-License-Identifier: Apache-2.0
// Weight panels: NR rows of a matrix interleaved so that one vector holds NR rows x 4 consecutive k, built once at load
// from the file's blocks without changing a value (tree/precision.md S4). The bytes are those of the file, but for
// K-quant scales, which are kept as whole bytes, and TQ1_0, whose digits stand as 2-bit codes.
//
//   superblock (32 to 256 k) of an integer format: header, then a code group for each 32 k
//     header  d, d256: d f16[NR]    dm: d f16[NR], m f16[NR]    e8: E8M0 u8[NR]    e4: unsigned E4M3 u8[2][NR]
//             k: d f16[NR], dmin f16[NR], sc u8[8][NR], mn u8[8][NR]          k6: d f16[NR], sc i8[16][NR]
//             k2: d f16[NR], dmin f16[NR], (sc | mn << 4) u8[16][NR]          ks: d f16[NR], sc i8[8][NR]
//             z: scale f32[NR], zero u8[NR]    m: scale f32[NR], offset f32[NR]    s: scale f32[NR]
//             a: scale f16[NR], whose rows have four bits in groups too
//             r: the row's scale f16[NR], (the group's integer scale - 1 | zero << 4) u8[NR]
//     codes   those of up to 6 bits in parts, one after another (code_parts below):
//               nibbles: 4 x (NR x 4) bytes, vector p: low nibble k = 4p.., high nibble k = 4(p+4)..
//               pairs: 2 x (NR x 4) bytes of four 2-bit fields, vector v, field j: k = 4(4v+j)..
//               bits: for each of 8 k-groups NR*4 bits
//             s8: 8 x (NR x 4) bytes; stored with the top bit flipped (value + 128) where NR is 16
//   behind all superblocks: where the last group is kept in bytes its high nibbles, as codes above; where rows have a
//   scale behind those of blocks, it, f32[NR]
//   float format: [k][NR] elements; with scales (s and e8 headers): superblocks of the scales f32[NR], then for each 32
//   k bytes
//             [32][NR] of e4m3 and e5m2, or nibbles [16][NR]: low nibble k, high nibble k + 16; behind those of six
//             bits pairs [8][NR]: bits 2i of byte j are the top two of k = j + 8i
//   format of tables (lut3 .. lut8): row after row, each its table f16[2^b], then for each 512 k sixteen streams of b
//             bits, of which stream l has k = l, 16 + l, 32 + l, ..., word after word of all sixteen: b x u32[16]; what
//             is left over of a row stays in the file's blocks of 32
#pragma once

#include <cstdint>
#include <span>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/gemm/act.h"

namespace vibee {

/// How 32 codes of a row are kept; iq4 and e2m1 are nibbles that name a value of a table (formats/codebook/tables.h).
/// From `floats` on values are floats, whose rows meet floats: e4m3 and e5m2 are bytes, e2m3 and e3m2 have six bits,
/// nf4 and fp4 are nibbles of a table of floats, and from lut3 on a row has a table of its own.
enum class Codes : uint8_t {
  u2,
  u3,
  u4,
  u5,
  u6,
  u7,
  iq4,
  e2m1,
  s8,
  floats,
  e4m3,
  e5m2,
  e2m3,
  e3m2,
  nf4,
  fp4,
  lut3,
  lut4,
  lut5,
  lut6,
  lut7,
  lut8
};
enum class PanelHeader : uint8_t {
  d,
  dm,
  e8,
  e4,
  d256,
  k,
  k2,
  k6,
  ks,
  z32,
  z64,
  z128,
  m32,
  m64,
  m128,
  s32,
  s64,
  s128,
  r32,
  r64,
  r128,
  a32,
  a64,
  a128,
  none
};

/// Headers of two levels, whose outer scale is the row's: products are integers along all of a row.
constexpr bool has_row_scales(PanelHeader h) {
  return h == PanelHeader::r32 || h == PanelHeader::r64 || h == PanelHeader::r128;
}

/// Headers of groups whose rows have four bits in groups of that length too.
constexpr bool has_four_bit_rows(PanelHeader h) {
  return h == PanelHeader::a32 || h == PanelHeader::a64 || h == PanelHeader::a128;
}

/// How a format's codes and scales stand in a panel.
struct PanelLayout {
  Codes codes;
  PanelHeader header;
  uint8_t zero;             ///< the integer zero point of unsigned codes, where a header has none
  bool keeps_last = false;  ///< the last group of a row has codes of eight bits, zero point kKeptZero
  bool row_scale = false;   ///< sums are multiplied by a scale of the row, f32
};
inline constexpr uint8_t kKeptZero = 128;
constexpr PanelLayout panel_layout(Format format) {
  switch (format) {
    case Format::q4_0: return {Codes::u4, PanelHeader::d, 8};
    case Format::q4_1: return {Codes::u4, PanelHeader::dm, 0};
    case Format::q5_0: return {Codes::u5, PanelHeader::d, 16};
    case Format::q5_1: return {Codes::u5, PanelHeader::dm, 0};
    case Format::q8_0: return {Codes::s8, PanelHeader::d, 128};
    case Format::q2_k: return {Codes::u2, PanelHeader::k2, 0};
    case Format::q3_k: return {Codes::u3, PanelHeader::k6, 4};
    case Format::q4_k: return {Codes::u4, PanelHeader::k, 0};
    case Format::q5_k: return {Codes::u5, PanelHeader::k, 0};
    case Format::q6_k: return {Codes::u6, PanelHeader::k6, 32};
    case Format::iq4_nl: return {Codes::iq4, PanelHeader::d, 128};
    case Format::iq4_xs: return {Codes::iq4, PanelHeader::ks, 128};
    case Format::tq1_0:
    case Format::tq2_0: return {Codes::u2, PanelHeader::d256, 1};
    case Format::mxfp4: return {Codes::e2m1, PanelHeader::e8, 12};
    case Format::nvfp4: return {Codes::e2m1, PanelHeader::e4, 12};
    case Format::nvfp4s: return {Codes::e2m1, PanelHeader::e4, 12, false, true};
    case Format::i4z32: return {Codes::u4, PanelHeader::z32, 0};
    case Format::i4z64: return {Codes::u4, PanelHeader::z64, 0};
    case Format::i4z128: return {Codes::u4, PanelHeader::z128, 0};
    case Format::i4m32: return {Codes::u4, PanelHeader::m32, 0};
    case Format::i4m64: return {Codes::u4, PanelHeader::m64, 0};
    case Format::i4m128: return {Codes::u4, PanelHeader::m128, 0};
    case Format::i3m64: return {Codes::u3, PanelHeader::m64, 0};
    case Format::i5m64: return {Codes::u5, PanelHeader::m64, 0};
    case Format::i6m64: return {Codes::u6, PanelHeader::m64, 0};
    case Format::i7m64: return {Codes::u7, PanelHeader::m64, 0};
    case Format::i8m64: return {Codes::s8, PanelHeader::m64, 128};
    case Format::i8s32: return {Codes::s8, PanelHeader::s32, 128};
    case Format::i8s64: return {Codes::s8, PanelHeader::s64, 128};
    case Format::i8s128: return {Codes::s8, PanelHeader::s128, 128};
    case Format::qoq32: return {Codes::u4, PanelHeader::r32, 0};
    case Format::qoq64: return {Codes::u4, PanelHeader::r64, 0};
    case Format::qoq128: return {Codes::u4, PanelHeader::r128, 0};
    case Format::i4a32: return {Codes::u4, PanelHeader::a32, 8};
    case Format::i4a64: return {Codes::u4, PanelHeader::a64, 8};
    case Format::i4a128: return {Codes::u4, PanelHeader::a128, 8};
    case Format::atom32: return {Codes::u4, PanelHeader::a32, 8, true};
    case Format::atom64: return {Codes::u4, PanelHeader::a64, 8, true};
    case Format::atom128: return {Codes::u4, PanelHeader::a128, 8, true};
    case Format::e4m3s32: return {Codes::e4m3, PanelHeader::s32, 0};
    case Format::e4m3s128: return {Codes::e4m3, PanelHeader::s128, 0};
    case Format::e2m3s32: return {Codes::e2m3, PanelHeader::s32, 0};
    case Format::e2m3s128: return {Codes::e2m3, PanelHeader::s128, 0};
    case Format::e3m2s32: return {Codes::e3m2, PanelHeader::s32, 0};
    case Format::e3m2s128: return {Codes::e3m2, PanelHeader::s128, 0};
    case Format::mxfp8: return {Codes::e4m3, PanelHeader::e8, 0};
    case Format::mxfp8e5m2: return {Codes::e5m2, PanelHeader::e8, 0};
    case Format::mxfp6: return {Codes::e2m3, PanelHeader::e8, 0};
    case Format::mxfp6e3m2: return {Codes::e3m2, PanelHeader::e8, 0};
    case Format::nf4s64: return {Codes::nf4, PanelHeader::s64, 0};
    case Format::fp4s64: return {Codes::fp4, PanelHeader::s64, 0};
    case Format::lut3: return {Codes::lut3, PanelHeader::none, 0};
    case Format::lut4: return {Codes::lut4, PanelHeader::none, 0};
    case Format::lut5: return {Codes::lut5, PanelHeader::none, 0};
    case Format::lut6: return {Codes::lut6, PanelHeader::none, 0};
    case Format::lut7: return {Codes::lut7, PanelHeader::none, 0};
    case Format::lut8: return {Codes::lut8, PanelHeader::none, 0};
    case Format::f32:
    case Format::f16:
    case Format::bf16: break;
  }
  return {Codes::floats, PanelHeader::none, 0};
}
constexpr bool is_integer(Format format) { return panel_layout(format).codes < Codes::floats; }
/// How the rows that meet a format are quantised (act.h).
constexpr ActRule act_rule(Format format) {
  if (!is_integer(format)) return ActRule::floats;
  const PanelLayout p = panel_layout(format);
  if (has_four_bit_rows(p.header))
    return ActRule(uint32_t(p.keeps_last ? ActRule::atom32 : ActRule::int4x32) + uint32_t(p.header) -
                   uint32_t(PanelHeader::a32));
  return has_row_scales(p.header) ? ActRule::row : ActRule::block;
}
/// Elements that are floats themselves: f32, f16, bf16.
constexpr bool is_plain_float(Format format) { return panel_layout(format).codes == Codes::floats; }
/// Codes of floats behind scales.
constexpr bool is_scaled_float(Format format) {
  const Codes codes = panel_layout(format).codes;
  return codes > Codes::floats && codes < Codes::lut3;
}
/// Codes of a table that each row has of its own; their width, the table's bytes, and how many k have their codes in
/// streams together.
constexpr bool is_table(Format format) { return panel_layout(format).codes >= Codes::lut3; }
constexpr uint32_t table_bits(Codes codes) { return uint32_t(codes) - uint32_t(Codes::lut3) + 3; }
constexpr uint32_t table_bytes(uint32_t bits) { return 2u << bits; }
inline constexpr uint32_t kStreamed = 512;
constexpr uint64_t table_row_bytes(uint32_t bits, uint32_t k) {
  return table_bytes(bits) + uint64_t(k / 32) * 4 * bits;
}
constexpr bool has_six_bits(Codes codes) { return codes == Codes::e2m3 || codes == Codes::e3m2; }

/// The parts that codes of up to 6 bits are kept in: nibbles for the lowest four bits or none, two bits from `pair_bit`
/// up and one bit at `single_bit`; -1 = no such part.
struct CodeParts {
  bool nibbles;
  int8_t pair_bit, single_bit;
};
constexpr CodeParts code_parts(Codes codes) {
  switch (codes) {
    case Codes::u2: return {false, 0, -1};
    case Codes::u3: return {false, 0, 2};
    case Codes::u5: return {true, -1, 4};
    case Codes::u6: return {true, 4, -1};
    case Codes::u7: return {true, 4, 6};
    default: return {true, -1, -1};
  }
}
/// Codes whose values take all of a signed byte.
constexpr bool is_signed(Codes codes) { return codes == Codes::s8 || codes == Codes::iq4; }
constexpr uint32_t code_bytes(Codes codes, uint32_t nr) {
  if (codes == Codes::s8 || codes == Codes::e4m3 || codes == Codes::e5m2) return 32 * nr;
  if (has_six_bits(codes)) return 24 * nr;
  const CodeParts p = code_parts(codes);
  return (p.nibbles ? 16 * nr : 0) + (p.pair_bit >= 0 ? 8 * nr : 0) + (p.single_bit >= 0 ? 4 * nr : 0);
}
/// Headers of a scale in f32, whose superblock is a group of a length of its own.
constexpr bool has_zeros(PanelHeader h) {
  return h == PanelHeader::z32 || h == PanelHeader::z64 || h == PanelHeader::z128;
}
constexpr bool has_offsets(PanelHeader h) {
  return h == PanelHeader::m32 || h == PanelHeader::m64 || h == PanelHeader::m128;
}
constexpr bool has_float_scales(PanelHeader h) {
  return has_zeros(h) || has_offsets(h) || h == PanelHeader::s32 || h == PanelHeader::s64 || h == PanelHeader::s128;
}
constexpr uint32_t header_bytes(PanelHeader header, uint32_t nr) {
  switch (header) {
    case PanelHeader::e8: return nr;
    case PanelHeader::d:
    case PanelHeader::d256:
    case PanelHeader::a32:
    case PanelHeader::a64:
    case PanelHeader::a128:
    case PanelHeader::e4: return 2 * nr;
    case PanelHeader::dm: return 4 * nr;
    case PanelHeader::ks: return 10 * nr;
    case PanelHeader::k6: return 18 * nr;
    case PanelHeader::k:
    case PanelHeader::k2: return 20 * nr;
    case PanelHeader::z32:
    case PanelHeader::z64:
    case PanelHeader::z128: return 5 * nr;
    case PanelHeader::m32:
    case PanelHeader::m64:
    case PanelHeader::m128: return 8 * nr;
    case PanelHeader::s32:
    case PanelHeader::s64:
    case PanelHeader::s128: return 4 * nr;
    case PanelHeader::r32:
    case PanelHeader::r64:
    case PanelHeader::r128: return 3 * nr;
    case PanelHeader::none: break;
  }
  return 0;
}
constexpr uint32_t superblock(PanelHeader header) {
  switch (header) {
    case PanelHeader::d:
    case PanelHeader::dm:
    case PanelHeader::e8:
    case PanelHeader::e4:
    case PanelHeader::z32:
    case PanelHeader::m32:
    case PanelHeader::s32:
    case PanelHeader::r32:
    case PanelHeader::a32: return 32;
    case PanelHeader::z64:
    case PanelHeader::m64:
    case PanelHeader::s64:
    case PanelHeader::r64:
    case PanelHeader::a64: return 64;
    case PanelHeader::z128:
    case PanelHeader::m128:
    case PanelHeader::s128:
    case PanelHeader::r128:
    case PanelHeader::a128: return 128;
    default: return 256;
  }
}
/// Whether a format adds a float offset, and whether its scales change after 16 elements.
constexpr bool has_min(PanelHeader header) {
  return header == PanelHeader::dm || header == PanelHeader::k || header == PanelHeader::k2 || has_offsets(header);
}
constexpr bool halves(PanelHeader header) {
  return header == PanelHeader::k2 || header == PanelHeader::k6 || header == PanelHeader::e4;
}
/// Bytes behind a panel's superblocks: high nibbles of what is kept in bytes, or scales of rows.
constexpr uint32_t tail_bytes(const PanelLayout& p, uint32_t nr) {
  return p.keeps_last ? superblock(p.header) / 32 * code_bytes(Codes::u4, nr) : p.row_scale ? 4 * nr : 0;
}
/// Bytes of one panel of `nr` rows of `k` elements.
constexpr uint64_t panel_bytes(Format format, uint32_t nr, uint32_t k) {
  const PanelLayout p = panel_layout(format);
  if (p.codes == Codes::floats) return uint64_t(k) * nr * (format == Format::f32 ? 4 : 2);
  if (is_table(format)) return nr * table_row_bytes(table_bits(p.codes), k);
  const uint32_t sb = superblock(p.header);
  return uint64_t(k / sb) * (header_bytes(p.header, nr) + sb / 32 * code_bytes(p.codes, nr)) + tail_bytes(p, nr);
}
/// Rows a panel: what the instruction set's vectors hold.
constexpr uint32_t panel_rows(Format format, Isa isa) { return is_integer(format) && isa == Isa::avx2 ? 8 : 16; }

/// A matrix [n, k] in panels, or a stack of `experts` such matrices one after another. Does not own its bytes.
struct PackedWeight {
  Format format = Format::f32;
  uint32_t n = 0, k = 0, nr = 16;
  const uint8_t* data = nullptr;
  uint32_t experts = 1;
  uint32_t panels() const { return (n + nr - 1) / nr; }
  uint64_t stride() const { return panel_bytes(format, nr, k); }
  uint64_t bytes() const { return stride() * panels() * experts; }
  /// One matrix of a stack.
  PackedWeight expert(uint32_t e) const { return {format, n, k, nr, data + stride() * panels() * e, 1}; }
};

/// Packs rows [panel*nr, min(n, panel*nr + nr)) given as file bytes, row after row, into one panel; missing rows become
/// zeros.
void pack_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* file_rows, uint8_t* panel);

/// One 32-element block of one row as the integer contract sees it: value = dw[half] * sc[half] * (code - zero) + mw *
/// mn[half], times row_scale (1 where the format has none). Codebook codes stand as their values plus the zero point.
/// The sums of the halves meet as integers, sc[0]*isum[0] + sc[1]*isum[1], and each block is one fma; only where
/// `split` are the scales floats of their own (NVFP4), and each half is one fma. Where the rule is ActRule::row, blocks
/// meet as integers too, and where it has groups (act_rule_group) those of a group do.
struct Block32 {
  uint8_t code[32];
  int32_t zero;
  int32_t sc[2], mn[2];
  float dw[2], mw, row_scale;
  bool has_min, split;
};
/// The block read from the file's bytes (row start, of k elements) and from a panel; both give the same.
Block32 file_block(Format format, const uint8_t* row, uint32_t k, uint32_t block);
Block32 panel_block(const PackedWeight& w, uint32_t row, uint32_t block);

/// Row `row` of the matrix decoded to `k` floats, bit-equal to NumericFormat::decode of the file's row.
void decode_row(const PackedWeight& w, uint32_t row, float* out);

/// Panel `panel` decoded to floats [k][16]; rows beyond the panel's or the matrix's are zeros.
void decode_panel(const PackedWeight& w, uint32_t panel, float* out);

}  // namespace vibee
