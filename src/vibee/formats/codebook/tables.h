// SPDX-License-Identifier: Apache-2.0
// The tables and scales of formats whose 4-bit codes name values: the sixteen levels of IQ4, E2M1 (OCP Microscaling),
// and the 8-bit scales E8M0 (MXFP4) and unsigned E4M3 (NVFP4). E2M1 is kept doubled, in integers, so scales are halved.
#pragma once

#include <bit>
#include <cstdint>

namespace vibee {

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// Half of E8M0: 2^(e - 128), of which e < 2 are subnormal. GGUF gives 255 no special meaning.
constexpr float e8m0_half(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? uint32_t(0x00200000) << e : uint32_t(e - 1) << 23);
}
/// Half of unsigned E4M3: the top bit is ignored, and 0x7f, the format's NaN, is zero.
constexpr float ue4m3_half(uint8_t c) {
  if (c == 0x7f) return 0.0f;
  const uint32_t exponent = (c >> 3) & 15, mantissa = c & 7;
  if (exponent == 0) return float(mantissa) * 0x1p-10f;
  return std::bit_cast<float>((exponent + 119) << 23 | mantissa << 20);
}
/// Scale k of an IQ4_XS superblock, -32..31: nibbles in bytes 4..7, top two bits in the 16 bits at byte 2.
constexpr int8_t iq4_xs_scale(const uint8_t* block, int k) {
  const int low = (block[4 + k / 2] >> (4 * (k & 1))) & 15;
  const int high = ((block[2] | block[3] << 8) >> (2 * k)) & 3;
  return int8_t((low | high << 4) - 32);
}

}  // namespace vibee
