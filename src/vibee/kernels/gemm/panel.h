// SPDX-License-Identifier: Apache-2.0
// Weight panels: NR rows of a matrix interleaved so that one vector holds NR rows x 4 consecutive k, built once at load
// from the file's blocks without changing a value (tree/precision.md S4). The bytes are those of the file, but for
// K-quant scales, which are kept as whole bytes.
//
//   superblock (32 or 256 k) of an integer format: header, then a code group for each 32 k
//     header  d: d f16[NR]          dm: d f16[NR], m f16[NR]
//             k: d f16[NR], dmin f16[NR], sc u8[8][NR], mn u8[8][NR]          k6: d f16[NR], sc i8[16][NR]
//     codes   u4: 4 x (NR x 4) bytes, vector p: low nibble k = 4p.., high nibble k = 4(p+4)..
//             u5: u4, then the fifth bits: for each of 8 k-groups NR*4 bits     u6: u4, then 2 x (NR x 4) bytes of four
//             2-bit fields s8: 8 x (NR x 4) bytes; stored with the top bit flipped (value + 128) where NR is 16
//   float format: [k][NR] elements
#pragma once

#include <cstdint>
#include <span>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/packed/format.h"

namespace vibee {

enum class Codes : uint8_t { u4, u5, u6, s8, floats };
enum class Header : uint8_t { d, dm, k, k6, none };

/// How a format's codes and scales stand in a panel.
struct PanelLayout {
  Codes codes;
  Header header;
  uint8_t zero_shift;  ///< the integer zero point is 1 << zero_shift; 0 = none
};
constexpr PanelLayout panel_layout(Format format) {
  switch (format) {
    case Format::q4_0: return {Codes::u4, Header::d, 3};
    case Format::q4_1: return {Codes::u4, Header::dm, 0};
    case Format::q5_0: return {Codes::u5, Header::d, 4};
    case Format::q5_1: return {Codes::u5, Header::dm, 0};
    case Format::q8_0: return {Codes::s8, Header::d, 0};
    case Format::q4_k: return {Codes::u4, Header::k, 0};
    case Format::q5_k: return {Codes::u5, Header::k, 0};
    case Format::q6_k: return {Codes::u6, Header::k6, 5};
    default: return {Codes::floats, Header::none, 0};
  }
}
constexpr bool is_integer(Format format) { return panel_layout(format).codes != Codes::floats; }
constexpr uint32_t code_bytes(Codes codes, uint32_t nr) {
  return codes == Codes::u4 ? 16 * nr : codes == Codes::u5 ? 20 * nr : codes == Codes::u6 ? 24 * nr : 32 * nr;
}
constexpr uint32_t header_bytes(Header header, uint32_t nr) {
  return header == Header::d    ? 2 * nr
         : header == Header::dm ? 4 * nr
         : header == Header::k  ? 20 * nr
         : header == Header::k6 ? 18 * nr
                                : 0;
}
constexpr uint32_t superblock(Header header) { return header == Header::k || header == Header::k6 ? 256 : 32; }
/// Bytes of one panel of `nr` rows of `k` elements.
constexpr uint64_t panel_bytes(Format format, uint32_t nr, uint32_t k) {
  const PanelLayout p = panel_layout(format);
  if (p.codes == Codes::floats) return uint64_t(k) * nr * (format == Format::f32 ? 4 : 2);
  const uint32_t sb = superblock(p.header);
  return uint64_t(k / sb) * (header_bytes(p.header, nr) + sb / 32 * code_bytes(p.codes, nr));
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

/// One 32-element block of one row as the integer contract sees it: value = dw * sc[half] * (code - zero) + mw.
struct Block32 {
  uint8_t code[32];
  int32_t zero;
  int32_t sc[2];
  float dw, mw;
  bool has_min;
};
/// The block read from the file's bytes (row start) and from a panel; both give the same.
Block32 file_block(Format format, const uint8_t* row, uint32_t block);
Block32 panel_block(const PackedWeight& w, uint32_t row, uint32_t block);

/// Row `row` of the matrix decoded to `k` floats, bit-equal to NumericFormat::decode of the file's row.
void decode_row(const PackedWeight& w, uint32_t row, float* out);

/// Panel `panel` decoded to floats [k][16]; rows beyond the panel's or the matrix's are zeros.
void decode_panel(const PackedWeight& w, uint32_t panel, float* out);

}  // namespace vibee
