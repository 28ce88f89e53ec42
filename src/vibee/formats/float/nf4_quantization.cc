// SPDX-License-Identifier: Apache-2.0
// NF4 and the 4-bit floats of bitsandbytes, in groups of 64 with a scale.
#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/formats/float/float_codes.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

void table_groups(const float* table, const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= 64, in += 36, out += 64) {
    const float scale = read_scale(in);
    for (uint32_t i = 0; i < 64; i += 32)
      for (uint32_t j = 0; j < 16; ++j) {
        const uint8_t pair = in[4 + i / 2 + j];
        out[i + j] = scale * table[pair & 15];
        out[i + j + 16] = scale * table[pair >> 4];
      }
  }
}

/// The nearest of a table's values, in the order of their size; of two that are as near the lower one.
struct Nearest {
  uint8_t code[16];
  float middle[15];
  int count;
  constexpr explicit Nearest(const float (&table)[16]) : code(), middle(), count(0) {
    for (uint8_t c = 0; c < 16; ++c) {
      bool known = false;
      for (int i = 0; i < count; ++i) known = known || table[code[i]] == table[c];
      if (known) continue;
      int at = count++;
      for (; at > 0 && table[code[at - 1]] > table[c]; --at) code[at] = code[at - 1];
      code[at] = c;
    }
    for (int i = 0; i + 1 < count; ++i) middle[i] = (table[code[i]] + table[code[i + 1]]) / 2;
  }
  uint8_t operator()(float x) const {
    int at = 0;
    for (int i = 0; i + 1 < count; ++i) at += x > middle[i];
    return code[at];
  }
};
constexpr Nearest kNearestNf4(kNf4Values), kNearestFp4(kBnbFp4Values);

template <class Code>
void pack_codes(Code&& code, uint8_t* block) {
  for (uint32_t i = 0; i < 64; i += 32)
    for (uint32_t j = 0; j < 16; ++j) block[4 + i / 2 + j] = uint8_t(code(i + j) | code(i + j + 16) << 4);
}

void encode_table_groups(const Nearest& nearest, const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= 64, in += 64, out += 36) {
    const float scale = largest(in, 64), by = usable(scale);
    std::memcpy(out, &scale, 4);
    const auto code = [&](uint32_t i) { return nearest(std::isnan(in[i]) ? 0 : in[i] / by); };
    pack_codes(code, out);
  }
}

}  // namespace

void put_codes_nf4s64(const uint8_t* codes, uint8_t* block) {
  pack_codes([codes](uint32_t i) { return codes[i]; }, block);
}
void put_codes_fp4s64(const uint8_t* codes, uint8_t* block) { put_codes_nf4s64(codes, block); }

void decode_nf4s64(const uint8_t* in, uint64_t n, float* out) { table_groups(kNf4Values, in, n, out); }
void encode_nf4s64(const float* in, uint64_t n, const float*, uint8_t* out) {
  encode_table_groups(kNearestNf4, in, n, out);
}
void decode_fp4s64(const uint8_t* in, uint64_t n, float* out) { table_groups(kBnbFp4Values, in, n, out); }
void encode_fp4s64(const float* in, uint64_t n, const float*, uint8_t* out) {
  encode_table_groups(kNearestFp4, in, n, out);
}

}  // namespace vibee
