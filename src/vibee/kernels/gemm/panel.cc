// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/panel.h"

#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"

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

/// Sub-scale and sub-minimum j of a K-quant superblock (12 bytes of 6-bit fields).
void k_scales(const uint8_t* b, uint32_t j, uint8_t* sc, uint8_t* mn) {
  if (j < 4) {
    *sc = b[j] & 63;
    *mn = b[j + 4] & 63;
  } else {
    *sc = uint8_t((b[j + 4] & 15) | (b[j - 4] >> 6 << 4));
    *mn = uint8_t((b[j + 4] >> 4) | (b[j] >> 6 << 4));
  }
}

/// The 32 codes of block `block` (32-element blocks counted along the row).
void file_codes(Format format, const uint8_t* row, uint32_t block, uint8_t code[32]) {
  const uint32_t in_super = block % 8;
  switch (format) {
    case Format::q4_0:
    case Format::q4_1: {
      const uint8_t* qs = format == Format::q4_0 ? row + block * 18 + 2 : row + block * 20 + 4;
      for (int j = 0; j < 16; ++j) {
        code[j] = qs[j] & 15;
        code[j + 16] = qs[j] >> 4;
      }
      return;
    }
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

/// Writes the 32 codes of panel row r.
void place_codes(Codes kind, uint32_t nr, uint32_t r, const uint8_t code[32], uint8_t* out) {
  if (kind == Codes::s8) {
    const uint32_t flip = nr == 16 ? 0 : 0x80808080u;
    for (uint32_t g = 0; g < 8; ++g) write32(out + (g * nr + r) * 4, read32(code + 4 * g) ^ flip);
    return;
  }
  for (uint32_t p = 0; p < 4; ++p) {
    const uint32_t low = read32(code + 4 * p) & 0x0f0f0f0fu, high = read32(code + 4 * p + 16) & 0x0f0f0f0fu;
    write32(out + (p * nr + r) * 4, low | high << 4);
  }
  if (kind == Codes::u5) {
    uint8_t* bits = out + 16 * nr;
    for (uint32_t g = 0; g < 8; ++g) {
      uint32_t nibble = 0;
      for (uint32_t j = 0; j < 4; ++j) nibble |= uint32_t(code[4 * g + j] >> 4) << j;
      bits[g * (nr / 2) + r / 2] = uint8_t(bits[g * (nr / 2) + r / 2] | nibble << (4 * (r & 1)));
    }
  } else if (kind == Codes::u6) {
    uint8_t* pairs = out + 16 * nr;
    for (uint32_t v = 0; v < 2; ++v) {
      uint32_t word = 0;
      for (uint32_t j = 0; j < 4; ++j) word |= (read32(code + 16 * v + 4 * j) >> 4 & 0x03030303u) << (2 * j);
      write32(pairs + (v * nr + r) * 4, word);
    }
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
    case Format::q5_1: {
      const uint32_t scales = panel_layout(format).header == Header::dm ? 4 : 2;
      const bool fifth = panel_layout(format).codes == Codes::u5;
      const uint8_t* words = at + scales + (fifth ? 4 : 0);
      for (uint32_t p = 0; p < 4; ++p) write32(out + (p * nr + r) * 4, read32(words + 4 * p));
      if (!fifth) return true;
      const uint32_t high = read32(at + scales);
      uint8_t* bits = out + 16 * nr;
      for (uint32_t g = 0; g < 8; ++g) {
        uint8_t& byte = bits[g * (nr / 2) + r / 2];
        byte = uint8_t(byte | (high >> (4 * g) & 15) << (4 * (r & 1)));
      }
      return true;
    }
    case Format::q8_0: {
      const uint32_t flip = nr == 16 ? 0x80808080u : 0;
      for (uint32_t g = 0; g < 8; ++g) write32(out + (g * nr + r) * 4, read32(at + 2 + 4 * g) ^ flip);
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
  for (uint32_t p = 0; p < 4; ++p) {
    const uint32_t word = read32(in + (p * nr + r) * 4);
    write32(code + 4 * p, word & 0x0f0f0f0fu);
    write32(code + 4 * p + 16, word >> 4 & 0x0f0f0f0fu);
  }
  const uint8_t* extra = in + 16 * nr;
  if (kind == Codes::u5) {
    for (uint32_t i = 0; i < 32; ++i)
      code[i] = uint8_t(code[i] | (extra[i / 4 * (nr / 2) + r / 2] >> (4 * (r & 1) + i % 4) & 1) << 4);
  } else if (kind == Codes::u6) {
    for (uint32_t i = 0; i < 32; ++i)
      code[i] = uint8_t(code[i] | (extra[(i / 16 * nr + r) * 4 + i % 4] >> (2 * (i / 4 % 4)) & 3) << 4);
  }
}

void place_header(Format format, uint32_t nr, uint32_t r, const uint8_t* row, uint32_t super, uint8_t* out) {
  switch (panel_layout(format).header) {
    case Header::d:
    case Header::dm: {
      const uint8_t* block = row + super * info(format).block_bytes;
      write16(out + 2 * r, read16(block));
      if (panel_layout(format).header == Header::dm) write16(out + 2 * nr + 2 * r, read16(block + 2));
      return;
    }
    case Header::k: {
      const uint8_t* block = row + super * info(format).block_bytes;
      write16(out + 2 * r, read16(block));
      write16(out + 2 * nr + 2 * r, read16(block + 2));
      for (uint32_t j = 0; j < 8; ++j) k_scales(block + 4, j, out + (4 + j) * nr + r, out + (12 + j) * nr + r);
      return;
    }
    case Header::k6: {
      const uint8_t* block = row + super * 210;
      write16(out + 2 * r, read16(block + 208));
      for (uint32_t j = 0; j < 16; ++j) out[(2 + j) * nr + r] = block[192 + j];
      return;
    }
    case Header::none: return;
  }
}

void pack_floats(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  const uint32_t size = format == Format::f32 ? 4 : 2;
  std::memset(panel, 0, panel_bytes(format, nr, k));
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t i = 0; i < k; ++i)
      std::memcpy(panel + (uint64_t(i) * nr + r) * size, in + (uint64_t(r) * k + i) * size, size);
}

}  // namespace

void pack_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  const PanelLayout p = panel_layout(format);
  if (p.codes == Codes::floats) return pack_floats(format, nr, k, rows, in, panel);
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
}

Block32 file_block(Format format, const uint8_t* row, uint32_t block) {
  const PanelLayout p = panel_layout(format);
  Block32 b{};
  file_codes(format, row, block, b.code);
  b.zero = p.codes == Codes::s8 ? 128 : p.zero_shift ? 1 << p.zero_shift : 0;
  b.sc[0] = b.sc[1] = 1;
  b.has_min = p.header == Header::dm || p.header == Header::k;
  const uint8_t* at = row + (superblock(p.header) == 256 ? block / 8 : block) * info(format).block_bytes;
  switch (p.header) {
    case Header::d: b.dw = half_to_float(read16(at)); break;
    case Header::dm:
      b.dw = half_to_float(read16(at));
      b.mw = half_to_float(read16(at + 2));
      break;
    case Header::k: {
      uint8_t sc, mn;
      k_scales(at + 4, block % 8, &sc, &mn);
      b.dw = half_to_float(read16(at)) * float(sc);
      b.mw = -(half_to_float(read16(at + 2)) * float(mn));
      break;
    }
    case Header::k6:
      b.dw = half_to_float(read16(at + 208));
      for (uint32_t h = 0; h < 2; ++h) b.sc[h] = int8_t(at[192 + block % 8 * 2 + h]);
      break;
    case Header::none: break;
  }
  return b;
}

Block32 panel_block(const PackedWeight& w, uint32_t row, uint32_t block) {
  const PanelLayout p = panel_layout(w.format);
  const uint32_t nr = w.nr, r = row % nr, sb = superblock(p.header), blocks = sb / 32,
                 head = header_bytes(p.header, nr);
  const uint8_t* at =
      w.data + row / nr * w.stride() + uint64_t(block / blocks) * (head + blocks * code_bytes(p.codes, nr));
  const uint32_t j = block % blocks;
  Block32 b{};
  fetch_codes(p.codes, nr, r, at + head + j * code_bytes(p.codes, nr), b.code);
  b.zero = p.codes == Codes::s8 ? 128 : p.zero_shift ? 1 << p.zero_shift : 0;
  b.sc[0] = b.sc[1] = 1;
  b.has_min = p.header == Header::dm || p.header == Header::k;
  b.dw = half_to_float(read16(at + 2 * r));
  if (p.header == Header::dm) b.mw = half_to_float(read16(at + 2 * nr + 2 * r));
  if (p.header == Header::k) {
    b.dw = b.dw * float(at[(4 + j) * nr + r]);
    b.mw = -(half_to_float(read16(at + 2 * nr + 2 * r)) * float(at[(12 + j) * nr + r]));
  }
  if (p.header == Header::k6)
    for (uint32_t h = 0; h < 2; ++h) b.sc[h] = int8_t(at[(2 + 2 * j + h) * nr + r]);
  return b;
}

void decode_row(const PackedWeight& w, uint32_t row, float* out) {
  if (!is_integer(w.format)) {
    const uint64_t first = (row / w.nr * uint64_t(w.k)) * w.nr + row % w.nr;
    for (uint32_t i = 0; i < w.k; ++i) {
      const uint64_t at = first + uint64_t(i) * w.nr;
      if (w.format == Format::f32) std::memcpy(out + i, w.data + 4 * at, 4);
      if (w.format == Format::f16) out[i] = half_to_float(read16(w.data + 2 * at));
      if (w.format == Format::bf16) out[i] = bf16_to_float(read16(w.data + 2 * at));
    }
    return;
  }
  for (uint32_t block = 0; block < w.k / 32; ++block) {
    const Block32 b = panel_block(w, row, block);
    for (uint32_t i = 0; i < 32; ++i) {
      const float value = b.dw * float(b.sc[i / 16]) * float(int32_t(b.code[i]) - b.zero);
      out[block * 32 + i] = b.has_min ? value + b.mw : value;
    }
  }
}

void decode_panel(const PackedWeight& w, uint32_t panel, float* out) {
  std::memset(out, 0, uint64_t(w.k) * 16 * sizeof(float));
  std::vector<float> row(w.k);
  for (uint32_t r = 0; r < w.nr && panel * w.nr + r < w.n; ++r) {
    decode_row(w, panel * w.nr + r, row.data());
    for (uint32_t i = 0; i < w.k; ++i) out[uint64_t(i) * 16 + r] = row[i];
  }
}

}  // namespace vibee
