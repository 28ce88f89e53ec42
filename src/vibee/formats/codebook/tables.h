// SPDX-License-Identifier: Apache-2.0
// The tables and scales of formats whose 4-bit codes name values: the sixteen levels of IQ4, E2M1 (OCP Microscaling),
// and the 8-bit scales E8M0 (MXFP4) and unsigned E4M3 (NVFP4). E2M1 is kept doubled, in integers, so scales are halved.
#pragma once

#include <bit>
#include <cstdint>

namespace vibee {

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// The quantiles of NormalFloat 4 (Dettmers et al., QLoRA, 2023, appendix E), and the 4-bit floats of bitsandbytes.
constexpr float kNf4Values[16] = {-1.0f,
                                  -0.6961928009986877f,
                                  -0.5250730514526367f,
                                  -0.39491748809814453f,
                                  -0.28444138169288635f,
                                  -0.18477343022823334f,
                                  -0.09105003625154495f,
                                  0.0f,
                                  0.07958029955625534f,
                                  0.16093020141124725f,
                                  0.24611230194568634f,
                                  0.33791524171829224f,
                                  0.44070982933044434f,
                                  0.5626170039176941f,
                                  0.7229568362236023f,
                                  1.0f};
constexpr float kBnbFp4Values[16] = {0.0f,
                                     0.0052083334885537624f,
                                     0.6666666865348816f,
                                     1.0f,
                                     0.3333333432674408f,
                                     0.5f,
                                     0.1666666716337204f,
                                     0.25f,
                                     0.0f,
                                     -0.0052083334885537624f,
                                     -0.6666666865348816f,
                                     -1.0f,
                                     -0.3333333432674408f,
                                     -0.5f,
                                     -0.1666666716337204f,
                                     -0.25f};

/// Half of E8M0: 2^(e - 128), of which e < 2 are subnormal. GGUF gives 255 no special meaning.
constexpr float e8m0_half(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? uint32_t(0x00200000) << e : uint32_t(e - 1) << 23);
}
/// E8M0 itself: 2^(e - 127), the first of them subnormal; 255 is NaN there and infinite here.
constexpr float e8m0(uint8_t e) { return std::bit_cast<float>(e == 0 ? uint32_t(0x00400000) : uint32_t(e) << 23); }
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
