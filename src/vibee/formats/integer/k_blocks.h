// SPDX-License-Identifier: Apache-2.0
// What the superblock formats pack alike: the 6-bit scales of Q4_K and Q5_K (eight with eight minima in 12 bytes) and
// of Q3_K (sixteen in 12 bytes), and the base-3 digits of TQ1_0.
#pragma once

#include <cstdint>

namespace vibee {

constexpr int kSuperBlock = 256;

constexpr uint8_t k_scale(const uint8_t* b, int k) {
  return k < 4 ? b[k] & 63 : uint8_t((b[k + 4] & 15) | ((b[k - 4] >> 6) << 4));
}
constexpr uint8_t k_min(const uint8_t* b, int k) {
  return k < 4 ? b[k + 4] & 63 : uint8_t((b[k + 4] >> 4) | ((b[k] >> 6) << 4));
}
/// The inverse of k_scale and k_min; `b` is written whole.
constexpr void pack_k_scales(const uint8_t* scales, const uint8_t* mins, uint8_t* b) {
  for (int k = 0; k < 4; ++k) {
    b[k] = uint8_t((scales[k] & 63) | ((scales[k + 4] >> 4) << 6));
    b[k + 4] = uint8_t((mins[k] & 63) | ((mins[k + 4] >> 4) << 6));
    b[k + 8] = uint8_t((scales[k + 4] & 15) | ((mins[k + 4] & 15) << 4));
  }
}
/// Scale j of the sixteen of Q3_K, -32..31: low nibbles of bytes 0..7, then their high nibbles, the top two bits in
/// bytes 8..11.
constexpr int8_t q3_scale(const uint8_t* b, int j) {
  const int low = j < 8 ? b[j] & 15 : b[j - 8] >> 4;
  return int8_t((low | ((b[8 + j % 4] >> (2 * (j / 4))) & 3) << 4) - 32);
}

/// The inverse; `b` is written whole.
constexpr void pack_q3_scales(const int16_t* scales, uint8_t* b) {
  for (int i = 0; i < 12; ++i) b[i] = 0;
  for (int j = 0; j < 16; ++j) {
    const int s = scales[j] + 32;
    b[j % 8] = uint8_t(b[j % 8] | (s & 15) << (j < 8 ? 0 : 4));
    b[8 + j % 4] = uint8_t(b[8 + j % 4] | (s >> 4) << (2 * (j / 4)));
  }
}

/// Digit i (0, 1 or 2) of a TQ1_0 superblock: 48 bytes of five digits, then 4 of four. A byte is its base-3 number over
/// 243, scaled to 256 and rounded up, so that multiplying by 3 carries out the digits, the first element's first.
constexpr uint8_t ternary_digit(const uint8_t* qs, int i) {
  constexpr uint8_t kPower[] = {1, 3, 9, 27, 81};
  const int byte = i < 160 ? i % 32 : i < 240 ? 32 + i % 16 : 48 + i % 4;
  const int digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
  return uint8_t((uint8_t(qs[byte] * kPower[digit]) * 3) >> 8);
}

}  // namespace vibee
