// SPDX-License-Identifier: Apache-2.0
// Codes of 3 to 8 bits that each row looks up in a table of its own (packed/formats.inc, lut3 .. lut8). What is encoded
// gets the table of least squared error: the means of the best clusters of its numbers, each weight's error times its
// importance (SqueezeLLM, Kim et al., ICML 2024), as halves.
#include <algorithm>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/formats/codebook/line_means.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

uint16_t read_half(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

template <uint32_t Bits>
void decode(const uint8_t* in, uint64_t n, float* out) {
  const uint8_t* block = in + (2u << Bits);
  for (; n > 0; n -= 32, out += 32, block += 4 * Bits) {
    uint32_t words[Bits];
    std::memcpy(words, block, sizeof words);
    for (uint32_t i = 0; i < 32; ++i) {
      uint32_t code = 0;
      for (const uint32_t word : words) code = code << 1 | (word >> i & 1);
      out[i] = half_to_float(read_half(in + 2 * code));
    }
  }
}

template <uint32_t Bits>
void encode(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr uint32_t kCodes = 1u << Bits;
  constexpr double kMost = 65504;  // of halves
  const LinePoints points(in, n, importance);
  const std::vector<uint32_t> borders = points.clusters(kCodes);
  std::vector<uint8_t> code(points.size());
  uint16_t half = 0;
  for (uint32_t c = 0; c < kCodes; ++c) {
    if (borders[c] < borders[c + 1])
      half = float_to_half(float(std::clamp(points.mean(borders[c], borders[c + 1]), -kMost, kMost)));
    std::memcpy(out + 2 * c, &half, 2);
    std::fill(code.begin() + borders[c], code.begin() + borders[c + 1], uint8_t(c));
  }
  uint8_t* block = out + 2 * kCodes;
  for (uint64_t at = 0; at < n; at += 32, block += 4 * Bits) {
    uint32_t words[Bits] = {};
    for (uint32_t i = 0; i < 32; ++i)
      for (uint32_t p = 0; p < Bits; ++p)
        words[p] |= uint32_t(code[points.point_of(at + i)] >> (Bits - 1 - p) & 1) << i;
    std::memcpy(block, words, sizeof words);
  }
}

}  // namespace

#define VIBEE_LUT(bits)                                                                          \
  void decode_lut##bits(const uint8_t* in, uint64_t n, float* out) { decode<bits>(in, n, out); } \
  void encode_lut##bits(const float* in, uint64_t n, const float* importance, uint8_t* out) {    \
    encode<bits>(in, n, importance, out);                                                        \
  }
VIBEE_LUT(3)
VIBEE_LUT(4)
VIBEE_LUT(5)
VIBEE_LUT(6)
VIBEE_LUT(7)
VIBEE_LUT(8)
#undef VIBEE_LUT

}  // namespace vibee
