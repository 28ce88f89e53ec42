// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/table_panel.h"

#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

/// The codes of a block of a file's row of a format of tables: words of a bit each, the top one first.
void plane_codes(const uint8_t* block, uint32_t bits, uint8_t code[32]) {
  std::memset(code, 0, 32);
  for (uint32_t p = 0; p < bits; ++p) {
    const uint32_t word = load_u32(block + 4 * p);
    for (uint32_t i = 0; i < 32; ++i) code[i] = uint8_t(code[i] << 1 | (word >> i & 1));
  }
}
/// The bits of code `i` of the streams of a panel's row, put on zeros.
void put_streamed(uint8_t* words, uint32_t bits, uint32_t i, uint32_t code) {
  const uint32_t at = i / 16 * bits, shift = at % 32;
  uint8_t* const word = words + (at / 32 * 16 + i % 16) * 4;
  store_u32(word, load_u32(word) | code << shift);
  if (shift + bits > 32) store_u32(word + 64, load_u32(word + 64) | code >> (32 - shift));
}
uint32_t streamed(const uint8_t* words, uint32_t bits, uint32_t i) {
  const uint32_t at = i / 16 * bits, shift = at % 32;
  const uint8_t* const word = words + (at / 32 * 16 + i % 16) * 4;
  const uint32_t high = shift + bits > 32 ? load_u32(word + 64) << (32 - shift) : 0;
  return (load_u32(word) >> shift | high) & ((1u << bits) - 1);
}

}  // namespace

void pack_table_panel(Format format, uint32_t nr, uint32_t k, uint32_t rows, const uint8_t* in, uint8_t* panel) {
  const uint32_t bits = table_bits(panel_layout(format).codes), streams = k / kStreamed * kStreamed;
  const uint64_t row_bytes = table_row_bytes(bits, k), left = table_bytes(bits) + uint64_t(streams / 32) * 4 * bits;
  std::memset(panel, 0, nr * row_bytes);
  for (uint32_t r = 0; r < rows; ++r, in += row_bytes, panel += row_bytes) {
    std::memcpy(panel, in, table_bytes(bits));
    std::memcpy(panel + left, in + left, row_bytes - left);
    for (uint32_t i = 0; i < streams; i += 32) {
      uint8_t code[32];
      plane_codes(in + table_bytes(bits) + i / 32 * 4 * bits, bits, code);
      uint8_t* const words = panel + table_bytes(bits) + i / kStreamed * 64 * bits;
      for (uint32_t j = 0; j < 32; ++j) put_streamed(words, bits, i % kStreamed + j, code[j]);
    }
  }
}
void decode_table_row(const PackedWeight& w, uint32_t row, float* out) {
  const uint32_t bits = table_bits(panel_layout(w.format).codes), streams = w.k / kStreamed * kStreamed;
  const uint8_t* const at = w.data + row / w.nr * w.stride() + row % w.nr * table_row_bytes(bits, w.k);
  for (uint32_t i = 0; i < w.k; i += 32) {
    uint8_t code[32];
    if (i < streams) {
      const uint8_t* const words = at + table_bytes(bits) + i / kStreamed * 64 * bits;
      for (uint32_t j = 0; j < 32; ++j) code[j] = uint8_t(streamed(words, bits, i % kStreamed + j));
    } else {
      plane_codes(at + table_bytes(bits) + i / 32 * 4 * bits, bits, code);
    }
    for (uint32_t j = 0; j < 32; ++j) out[i + j] = half_to_float(load_u16(at + 2 * code[j]));
  }
}

}  // namespace vibee
