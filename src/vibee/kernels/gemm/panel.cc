// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/panel.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/formats/codebook/tables.h"
#include "vibee/formats/float/microscaling.h"
#include "vibee/formats/integer/k_blocks.h"
#include "vibee/kernels/gemm/float_panel.h"
#include "vibee/kernels/gemm/table_panel.h"

namespace vibee {
namespace {

uint16_t read16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}
uint32_t read32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}
void write16(uint8_t* p, uint16_t v) { std::memcpy(p, &v, 2); }
void write32(uint8_t* p, uint32_t v) { std::memcpy(p, &v, 4); }

/// Those of a 32-block in a group of a length of its own.
const uint8_t* group_codes(Format format, const uint8_t* row, uint32_t block) {
  const PanelLayout p = panel_layout(format);
  const uint32_t blocks = superblock(p.header) / 32;
  return row + info(format).head_bytes + block / blocks * info(format).block_bytes + header_bytes(p.header, 1) +
         block % blocks * code_bytes(p.codes, 1);
}
/// Codes of nibbles: element j in the low and j + 16 in the high nibble of byte j.
void read_nibbles(const uint8_t* qs, uint8_t code[32]) {
  for (int j = 0; j < 16; ++j) {
    code[j] = qs[j] & 15;
    code[j + 16] = qs[j] >> 4;
  }
}
/// Which 32-block of the group that is kept in bytes a block is; -1: it is of another.
int kept_block(const PanelLayout& p, uint32_t k, uint32_t block) {
  const uint32_t first = (k - superblock(p.header)) / 32;
  return p.keeps_last && block >= first ? int(block - first) : -1;
}
/// Codes of bytes from their low nibbles and their high ones.
void join_nibbles(const uint8_t high[32], Block32& b) {
  for (int j = 0; j < 32; ++j) b.code[j] = uint8_t(b.code[j] | high[j] << 4);
  b.zero = kKeptZero;
}

/// The 32 codes of block `block` (32-element blocks counted along the row).
void file_codes(Format format, const uint8_t* row, uint32_t block, uint8_t code[32]) {
  const uint32_t in_super = block % 8;
  switch (format) {
    case Format::q4_0:
    case Format::q4_1:
    case Format::iq4_nl:
    case Format::iq4_xs:
    case Format::mxfp4: {
      const uint8_t* qs = format == Format::iq4_xs ? row + block / 8 * 136 + 8 + in_super * 16
                                                   : row + (block + 1) * info(format).block_bytes - 16;
      return read_nibbles(qs, code);
    }
    case Format::i4z32:
    case Format::i4z64:
    case Format::i4z128:
    case Format::i4m32:
    case Format::i4m64:
    case Format::i4m128:
    case Format::qoq32:
    case Format::qoq64:
    case Format::qoq128:
    case Format::i4a32:
    case Format::i4a64:
    case Format::i4a128:
    case Format::atom32:
    case Format::atom64:
    case Format::atom128: return read_nibbles(group_codes(format, row, block), code);
    case Format::i3m64:
    case Format::i5m64:
    case Format::i6m64:
    case Format::i7m64: {
      const CodeParts parts = code_parts(panel_layout(format).codes);
      const uint8_t* at = group_codes(format, row, block);
      std::memset(code, 0, 32);
      if (parts.nibbles) {
        read_nibbles(at, code);
        at += 16;
      }
      if (parts.pair_bit >= 0) {
        for (int j = 0; j < 32; ++j) code[j] = uint8_t(code[j] | (at[j % 8] >> (j / 8 * 2) & 3) << parts.pair_bit);
        at += 8;
      }
      for (int j = 0; j < 32 && parts.single_bit >= 0; ++j)
        code[j] = uint8_t(code[j] | (read32(at) >> j & 1) << parts.single_bit);
      return;
    }
    case Format::i8m64:
    case Format::i8s32:
    case Format::i8s64:
    case Format::i8s128: {
      const uint8_t* qs = group_codes(format, row, block);
      for (int j = 0; j < 32; ++j) code[j] = qs[j] ^ 0x80;
      return;
    }
    case Format::nvfp4:
    case Format::nvfp4s: {
      const uint8_t* qs = row + info(format).head_bytes + block / 2 * 36 + 4 + block % 2 * 16;
      for (int j = 0; j < 16; ++j) {
        code[j + j / 8 * 8] = qs[j] & 15;
        code[j + j / 8 * 8 + 8] = qs[j] >> 4;
      }
      return;
    }
    case Format::q2_k:
    case Format::tq2_0: {
      const uint8_t* qs =
          (format == Format::q2_k ? row + block / 8 * 84 + 16 : row + block / 8 * 66) + in_super / 4 * 32;
      for (int j = 0; j < 32; ++j) code[j] = qs[j] >> (2 * (in_super % 4)) & 3;
      return;
    }
    case Format::q3_k: {
      const uint8_t* sb = row + block / 8 * 110;
      const uint8_t* qs = sb + 32 + in_super / 4 * 32;
      for (int j = 0; j < 32; ++j)
        code[j] = uint8_t((qs[j] >> (2 * (in_super % 4)) & 3) | (sb[j] >> in_super & 1) << 2);
      return;
    }
    case Format::tq1_0:
      for (int j = 0; j < 32; ++j) code[j] = ternary_digit(row + block / 8 * 54, int(in_super) * 32 + j);
      return;
    case Format::q5_0:
    case Format::q5_1: {
      const uint8_t* b = format == Format::q5_0 ? row + block * 22 + 2 : row + block * 24 + 4;
      const uint32_t high = read32(b);
      for (int j = 0; j < 16; ++j) {
        code[j] = uint8_t((b[4 + j] & 15) | (high >> j & 1) << 4);
        code[j + 16] = uint8_t((b[4 + j] >> 4) | (high >> (j + 16) & 1) << 4);
      }
      return;
    }
    case Format::q8_0:
      for (int j = 0; j < 32; ++j) code[j] = row[block * 34 + 2 + uint32_t(j)] ^ 0x80;
      return;
    case Format::q4_k: {
      const uint8_t* qs = row + block / 8 * 144 + 16 + in_super / 2 * 32;
      for (int j = 0; j < 32; ++j) code[j] = in_super & 1 ? qs[j] >> 4 : qs[j] & 15;
      return;
    }
    case Format::q5_k: {
      const uint8_t* sb = row + block / 8 * 176;
      const uint8_t* qs = sb + 48 + in_super / 2 * 32;
      for (int j = 0; j < 32; ++j)
        code[j] = uint8_t((in_super & 1 ? qs[j] >> 4 : qs[j] & 15) | (sb[16 + j] >> in_super & 1) << 4);
      return;
    }
    case Format::q6_k: {
      const uint8_t* sb = row + block / 8 * 210;
      const uint32_t half = in_super / 4, c = in_super % 4;
      const uint8_t* ql = sb + 64 * half + 32 * (c & 1);
      const uint8_t* qh = sb + 128 + 32 * half;
      for (int j = 0; j < 32; ++j) code[j] = uint8_t((c < 2 ? ql[j] & 15 : ql[j] >> 4) | (qh[j] >> (2 * c) & 3) << 4);
      return;
    }
    default: VIBEE_CHECK(false, "not an integer format");
  }
}

/// Codebook codes become their values plus the zero point.
void map_codes(Codes kind, uint8_t code[32]) {
  for (int j = 0; j < 32; ++j) {
    if (kind == Codes::iq4) code[j] = uint8_t(128 + kIq4Values[code[j]]);
    if (kind == Codes::e2m1) code[j] = uint8_t(12 + kE2m1Doubled[code[j]]);
  }
}

/// Bit j of nibble g of `bits` is bit g of byte j.
uint32_t bits_by_lane(uint32_t bits) {
  uint32_t lanes = 0;
  for (uint32_t j = 0; j < 4; ++j) {
    uint32_t x = bits >> j & 0x11111111u;
    x = (x | x >> 3) & 0x03030303u;
    x = (x | x >> 6) & 0x000f000fu;
    lanes |= ((x | x >> 12) & 0xffu) << (8 * j);
  }
  return lanes;
}
uint32_t bits_by_group(uint32_t lanes) {
  uint32_t bits = 0;
  for (uint32_t j = 0; j < 4; ++j) {
    uint32_t x = lanes >> (8 * j) & 0xffu;
    x = (x | x << 12) & 0x000f000fu;
    x = (x | x << 6) & 0x03030303u;
    bits |= ((x | x << 3) & 0x11111111u) << j;
  }
  return bits;
}

/// Writes the single bits of panel row r, bit i of `bits` being element i's: in panels of 8 rows by byte lanes, which
/// shifts bring to all of a k-group's bytes at once; in those of 16 as the mask of a k-group's 64 bytes. The part is
/// zeros before.
void place_single_bits(uint32_t nr, uint32_t r, uint32_t bits, uint8_t* part) {
  if (nr == 8) return write32(part + 4 * r, bits_by_lane(bits));
  for (uint32_t g = 0; g < 8; ++g) {
    uint8_t& byte = part[g * (nr / 2) + r / 2];
    byte = uint8_t(byte | (bits >> (4 * g) & 15) << (4 * (r & 1)));
  }
}
uint32_t fetch_single_bits(uint32_t nr, uint32_t r, const uint8_t* part) {
  if (nr == 8) return bits_by_group(read32(part + 4 * r));
  uint32_t bits = 0;
  for (uint32_t g = 0; g < 8; ++g) bits |= uint32_t(part[g * (nr / 2) + r / 2] >> (4 * (r & 1)) & 15) << (4 * g);
  return bits;
}

/// Writes the 32 codes of panel row r.
void place_codes(Codes kind, uint32_t nr, uint32_t r, const uint8_t code[32], uint8_t* out) {
  if (kind == Codes::s8) {
    const uint32_t flip = nr == 16 ? 0 : 0x80808080u;
    for (uint32_t g = 0; g < 8; ++g) write32(out + (g * nr + r) * 4, read32(code + 4 * g) ^ flip);
    return;
  }
  const CodeParts parts = code_parts(kind);
  if (parts.nibbles) {
    for (uint32_t p = 0; p < 4; ++p) {
      const uint32_t low = read32(code + 4 * p) & 0x0f0f0f0fu, high = read32(code + 4 * p + 16) & 0x0f0f0f0fu;
      write32(out + (p * nr + r) * 4, low | high << 4);
    }
    out += 16 * nr;
  }
  if (parts.pair_bit >= 0) {
    for (uint32_t v = 0; v < 2; ++v) {
      uint32_t word = 0;
      for (uint32_t j = 0; j < 4; ++j)
        word |= (read32(code + 16 * v + 4 * j) >> parts.pair_bit & 0x03030303u) << (2 * j);
      write32(out + (v * nr + r) * 4, word);
    }
    out += 8 * nr;
  }
  if (parts.single_bit >= 0) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 32; ++i) bits |= uint32_t(code[i] >> parts.single_bit & 1) << i;
    place_single_bits(nr, r, bits, out);
  }
}

/// Block `block` of a file's row straight into panel row r, for formats whose words of four bytes are those of the
/// panel: the files of 32-element blocks keep element j in the low and j + 16 in the high nibble of byte j, as panels
/// do. False for the others.
bool copy_block(Format format, const uint8_t* row, uint32_t block, uint32_t nr, uint32_t r, uint8_t* out) {
  const uint8_t* at = row + block * info(format).block_bytes;
  switch (format) {
    case Format::q4_0:
    case Format::q4_1:
    case Format::q5_0:
    case Format::q5_1:
    case Format::iq4_nl:
    case Format::mxfp4: {
      const uint32_t scales = header_bytes(panel_layout(format).header, 1);
      const bool fifth = panel_layout(format).codes == Codes::u5;
      const uint8_t* words = at + scales + (fifth ? 4 : 0);
      for (uint32_t p = 0; p < 4; ++p) write32(out + (p * nr + r) * 4, read32(words + 4 * p));
      if (!fifth) return true;
      place_single_bits(nr, r, read32(at + scales), out + 16 * nr);
      return true;
    }
    case Format::i4z32:
    case Format::i4z64:
    case Format::i4z128:
    case Format::i4m32:
    case Format::i4m64:
    case Format::i4m128:
    case Format::qoq32:
    case Format::qoq64:
    case Format::qoq128:
    case Format::i4a32:
    case Format::i4a64:
    case Format::i4a128:
    case Format::atom32:
    case Format::atom64:
    case Format::atom128: {
      const uint8_t* words = group_codes(format, row, block);
      for (uint32_t p = 0; p < 4; ++p) write32(out + (p * nr + r) * 4, read32(words + 4 * p));
      return true;
    }
    case Format::i8m64:
    case Format::i8s32:
    case Format::i8s64:
    case Format::i8s128:
    case Format::q8_0: {
      const uint8_t* bytes = format == Format::q8_0 ? at + 2 : group_codes(format, row, block);
      const uint32_t flip = nr == 16 ? 0x80808080u : 0;
      for (uint32_t g = 0; g < 8; ++g) write32(out + (g * nr + r) * 4, read32(bytes + 4 * g) ^ flip);
      return true;
    }
    default: return false;
  }
}

/// The inverse of place_codes.
void fetch_codes(Codes kind, uint32_t nr, uint32_t r, const uint8_t* in, uint8_t code[32]) {
  if (kind == Codes::s8) {
    const uint32_t flip = nr == 16 ? 0 : 0x80808080u;
    for (uint32_t g = 0; g < 8; ++g) write32(code + 4 * g, read32(in + (g * nr + r) * 4) ^ flip);
    return;
  }
  const CodeParts parts = code_parts(kind);
  std::memset(code, 0, 32);
  if (parts.nibbles) {
    for (uint32_t p = 0; p < 4; ++p) {
      const uint32_t word = read32(in + (p * nr + r) * 4);
      write32(code + 4 * p, word & 0x0f0f0f0fu);
      write32(code + 4 * p + 16, word >> 4 & 0x0f0f0f0fu);
    }
    in += 16 * nr;
  }
  if (parts.pair_bit >= 0) {
    for (uint32_t i = 0; i < 32; ++i) {
      const uint32_t pair = in[(i / 16 * nr + r) * 4 + i % 4] >> (2 * (i / 4 % 4)) & 3;
      code[i] = uint8_t(code[i] | pair << parts.pair_bit);
    }
    in += 8 * nr;
  }
  if (parts.single_bit >= 0) {
    const uint32_t bits = fetch_single_bits(nr, r, in);
    for (uint32_t i = 0; i < 32; ++i) code[i] = uint8_t(code[i] | (bits >> i & 1) << parts.single_bit);
  }
}

/// Where a superblock's halves stand in the file: d, and dmin or m.
struct HalfOffsets {
  uint32_t d, second;
};
constexpr HalfOffsets half_offsets(Format format) {
  switch (format) {
    case Format::q2_k: return {80, 82};
    case Format::q3_k: return {108, 0};
    case Format::q6_k: return {208, 0};
    case Format::tq1_0: return {52, 0};
    case Format::tq2_0: return {64, 0};
    default: return {0, 2};
  }
}
/// Signed scale j of a superblock whose header is k6 (sixteen) or ks (eight).
int8_t signed_scale(Format format, const uint8_t* at, uint32_t j) {
  return format == Format::q3_k   ? q3_scale(at + 96, int(j))
         : format == Format::q6_k ? int8_t(at[192 + j])
                                  : iq4_xs_scale(at, int(j));
}
/// The superblock `super` of panel superblocks; a block of NVFP4 holds two.
const uint8_t* file_super(Format format, const uint8_t* row, uint32_t super) {
  return row + info(format).head_bytes +
         super * superblock(panel_layout(format).header) / info(format).block_elems * info(format).block_bytes;
}
/// The scale of half `h` of 32-block `block` as panels keep it: the NaN of E4M3, which GGUF reads as zero, is zero, and
/// 0x7f means 480, which the file says as 0xff.
uint8_t e4m3_scale(const uint8_t* at, uint32_t block, uint32_t h) {
  const uint8_t c = at[block % 2 * 2 + h];
  return c == 0x7f ? 0 : c & 0x7f;
}

void place_header(Format format, uint32_t nr, uint32_t r, const uint8_t* row, uint32_t super, uint8_t* out) {
  const PanelHeader header = panel_layout(format).header;
  const uint8_t* at = file_super(format, row, super);
  if (header == PanelHeader::e8) {
    out[r] = at[0];
    return;
  }
  if (header == PanelHeader::e4) {
    for (uint32_t h = 0; h < 2; ++h) out[h * nr + r] = e4m3_scale(at, super, h);
    return;
  }
  if (has_row_scales(header)) {
    write16(out + 2 * r, read16(at));
    out[2 * nr + r] = at[2];
    return;
  }
  if (has_float_scales(header)) {
    write32(out + 4 * r, read32(at));
    if (has_zeros(header)) out[4 * nr + r] = at[4];
    if (has_offsets(header)) write32(out + 4 * nr + 4 * r, read32(at + 4));
    return;
  }
  write16(out + 2 * r, read16(at + half_offsets(format).d));
  if (has_min(header)) write16(out + 2 * nr + 2 * r, read16(at + half_offsets(format).second));
  for (uint32_t j = 0; header == PanelHeader::k && j < 8; ++j) {
    out[(4 + j) * nr + r] = k_scale(at + 4, int(j));
    out[(12 + j) * nr + r] = k_min(at + 4, int(j));
  }
  for (uint32_t j = 0; header == PanelHeader::k2 && j < 16; ++j) out[(4 + j) * nr + r] = at[j];
  for (uint32_t j = 0; j < (header == PanelHeader::k6 ? 16u : header == PanelHeader::ks ? 8u : 0u); ++j)
    out[(2 + j) * nr + r] = uint8_t(signed_scale(format, at, j));
}

}  // namespace

void pack_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  const PanelLayout p = panel_layout(format);
  if (is_table(format)) return pack_table_panel(format, nr, k, rows, in, panel);
  if (!is_integer(format)) return pack_float_panel(format, nr, k, rows, in, panel);
  const uint64_t row_bytes = info(format).row_bytes(k);
  const uint32_t sb = superblock(p.header), blocks = sb / 32, head = header_bytes(p.header, nr),
                 group = code_bytes(p.codes, nr);
  std::memset(panel, 0, panel_bytes(format, nr, k));
  for (uint32_t super = 0; super < k / sb; ++super) {
    uint8_t* out = panel + uint64_t(super) * (head + blocks * group);
    for (uint32_t r = 0; r < rows; ++r) {
      const uint8_t* row = in + r * row_bytes;
      place_header(format, nr, r, row, super, out);
      for (uint32_t b = 0; b < blocks; ++b) {
        if (copy_block(format, row, super * blocks + b, nr, r, out + head + b * group)) continue;
        uint8_t code[32];
        file_codes(format, row, super * blocks + b, code);
        place_codes(p.codes, nr, r, code, out + head + b * group);
      }
    }
  }
  uint8_t* const high = panel + uint64_t(k / sb) * (head + blocks * group);
  for (uint32_t r = 0; p.row_scale && r < rows; ++r) write32(high + 4 * r, read32(in + r * row_bytes));
  for (uint32_t r = 0; p.keeps_last && r < rows; ++r)
    for (uint32_t b = 0; b < blocks; ++b) {
      uint8_t code[32];
      read_nibbles(in + r * row_bytes + 16 * b, code);
      place_codes(Codes::u4, nr, r, code, high + b * group);
    }
}

namespace {

/// The block's constants before its scales are known.
Block32 empty_block(const PanelLayout& p) {
  Block32 b{};
  b.zero = p.zero;
  b.has_min = has_min(p.header);
  b.split = p.header == PanelHeader::e4;
  b.row_scale = 1;
  for (int h = 0; h < 2; ++h) b.sc[h] = b.mn[h] = 1;
  return b;
}
void set_scale(Block32& b, float dw) { b.dw[0] = b.dw[1] = dw; }
/// The header of a group of a length of its own, of one of `nr` rows.
void set_group(Block32& b, PanelHeader header, const uint8_t* at, uint32_t nr, uint32_t r) {
  if (has_row_scales(header)) {
    set_scale(b, half_to_float(read16(at + 2 * r)));
    b.sc[0] = b.sc[1] = (at[2 * nr + r] & 15) + 1;
    b.zero = at[2 * nr + r] >> 4;
    return;
  }
  set_scale(b, std::bit_cast<float>(read32(at + 4 * r)));
  if (has_zeros(header)) b.zero = at[4 * nr + r];
  if (has_offsets(header)) b.mw = std::bit_cast<float>(read32(at + 4 * nr + 4 * r));
}

}  // namespace

Block32 file_block(Format format, const uint8_t* row, uint32_t k, uint32_t block) {
  const PanelLayout p = panel_layout(format);
  Block32 b = empty_block(p);
  file_codes(format, row, block, b.code);
  map_codes(p.codes, b.code);
  if (p.row_scale) b.row_scale = std::bit_cast<float>(read32(row));
  if (const int kept = kept_block(p, k, block); kept >= 0) {
    uint8_t high[32];
    read_nibbles(row + 16 * kept, high);
    join_nibbles(high, b);
  }
  const uint8_t* at = file_super(format, row, block / (superblock(p.header) / 32));
  const uint32_t in_super = block % 8;
  if (p.header == PanelHeader::e8) {
    set_scale(b, e8m0_half(at[0]));
    return b;
  }
  if (p.header == PanelHeader::e4) {
    for (uint32_t h = 0; h < 2; ++h) b.dw[h] = ue4m3_half(at[block % 2 * 2 + h]);
    return b;
  }
  if (has_float_scales(p.header) || has_row_scales(p.header)) {
    set_group(b, p.header, at, 1, 0);
    return b;
  }
  const float d = half_to_float(read16(at + half_offsets(format).d));
  const float second = b.has_min ? half_to_float(read16(at + half_offsets(format).second)) : 0;
  set_scale(b, d);
  switch (p.header) {
    case PanelHeader::dm: b.mw = second; break;
    case PanelHeader::k:
      set_scale(b, d * float(k_scale(at + 4, int(in_super))));
      b.mw = -(second * float(k_min(at + 4, int(in_super))));
      break;
    case PanelHeader::k2:
      b.mw = -second;
      for (uint32_t h = 0; h < 2; ++h) {
        b.sc[h] = at[2 * in_super + h] & 15;
        b.mn[h] = at[2 * in_super + h] >> 4;
      }
      break;
    case PanelHeader::k6:
      for (uint32_t h = 0; h < 2; ++h) b.sc[h] = signed_scale(format, at, 2 * in_super + h);
      break;
    case PanelHeader::ks: set_scale(b, d * float(signed_scale(format, at, in_super))); break;
    default: break;
  }
  return b;
}

Block32 panel_block(const PackedWeight& w, uint32_t row, uint32_t block) {
  const PanelLayout p = panel_layout(w.format);
  const uint32_t nr = w.nr, r = row % nr, sb = superblock(p.header), blocks = sb / 32,
                 head = header_bytes(p.header, nr), group = code_bytes(p.codes, nr), j = block % blocks;
  const uint8_t* at = w.data + row / nr * w.stride() + uint64_t(block / blocks) * (head + blocks * group);
  Block32 b = empty_block(p);
  fetch_codes(p.codes, nr, r, at + head + j * group, b.code);
  map_codes(p.codes, b.code);
  const uint8_t* const tail = w.data + (row / nr + 1) * w.stride() - tail_bytes(p, nr);
  if (p.row_scale) b.row_scale = std::bit_cast<float>(read32(tail + 4 * r));
  if (const int kept = kept_block(p, w.k, block); kept >= 0) {
    uint8_t high[32];
    fetch_codes(Codes::u4, nr, r, tail + uint32_t(kept) * group, high);
    join_nibbles(high, b);
  }
  if (p.header == PanelHeader::e8) {
    set_scale(b, e8m0_half(at[r]));
    return b;
  }
  if (p.header == PanelHeader::e4) {  // the top bit tells 480 from the file's NaN
    for (uint32_t h = 0; h < 2; ++h) b.dw[h] = ue4m3_half(at[h * nr + r] | 0x80);
    return b;
  }
  if (has_float_scales(p.header) || has_row_scales(p.header)) {
    set_group(b, p.header, at, nr, r);
    return b;
  }
  const float d = half_to_float(read16(at + 2 * r));
  const float second = b.has_min ? half_to_float(read16(at + 2 * nr + 2 * r)) : 0;
  set_scale(b, d);
  switch (p.header) {
    case PanelHeader::dm: b.mw = second; break;
    case PanelHeader::k:
      set_scale(b, d * float(at[(4 + j) * nr + r]));
      b.mw = -(second * float(at[(12 + j) * nr + r]));
      break;
    case PanelHeader::k2:
      b.mw = -second;
      for (uint32_t h = 0; h < 2; ++h) {
        b.sc[h] = at[(4 + 2 * j + h) * nr + r] & 15;
        b.mn[h] = at[(4 + 2 * j + h) * nr + r] >> 4;
      }
      break;
    case PanelHeader::k6:
      for (uint32_t h = 0; h < 2; ++h) b.sc[h] = int8_t(at[(2 + 2 * j + h) * nr + r]);
      break;
    case PanelHeader::ks: set_scale(b, d * float(int8_t(at[(2 + j) * nr + r]))); break;
    default: break;
  }
  return b;
}

void decode_row(const PackedWeight& w, uint32_t row, float* out) {
  if (is_table(w.format)) return decode_table_row(w, row, out);
  if (!is_integer(w.format)) return decode_float_row(w, row, out);
  for (uint32_t block = 0; block < w.k / 32; ++block) {
    const Block32 b = panel_block(w, row, block);
    for (uint32_t i = 0; i < 32; ++i) {
      const uint32_t h = i / 16;
      const float value = b.dw[h] * float(b.sc[h]) * float(int32_t(b.code[i]) - b.zero);
      out[block * 32 + i] = b.row_scale * (b.has_min ? value + b.mw * float(b.mn[h]) : value);
    }
  }
}

void decode_panel(const PackedWeight& w, uint32_t panel, float* out) {
  std::fill_n(out, uint64_t(w.k) * 16, 0.0f);
  std::vector<float> row(w.k);
  for (uint32_t r = 0; r < w.nr && panel * w.nr + r < w.n; ++r) {
    decode_row(w, panel * w.nr + r, row.data());
    for (uint32_t i = 0; i < w.k; ++i) out[uint64_t(i) * 16 + r] = row[i];
  }
}

}  // namespace vibee
