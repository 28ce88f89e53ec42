// SPDX-License-Identifier: Apache-2.0
// IEEE half and bfloat16 by bit arithmetic: exact decode, round-to-nearest-even encode, the same bits on every machine.
#pragma once

#include <bit>
#include <cstdint>

namespace vibee {

constexpr float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  uint32_t mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  if (mantissa == 0) return std::bit_cast<float>(sign);
  const int shift = std::countl_zero(mantissa) - 21;  // subnormal: normalise
  mantissa = (mantissa << shift) & 0x3ffu;
  return std::bit_cast<float>(sign | (uint32_t(113 - shift) << 23) | (mantissa << 13));
}

constexpr uint16_t float_to_half(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));  // NaN stays quiet
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);                                // rounds to infinity
  if (magnitude < 0x33000001u) return sign;                                                     // rounds to zero
  if (magnitude < 0x38800000u) {                                                                // half subnormal
    const int exponent = int(magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const int shift = 126 - exponent;
    const uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
    return uint16_t(sign | (kept + ((rest > tie || (rest == tie && (kept & 1))) ? 1 : 0)));
  }
  const uint32_t rebased = magnitude - (112u << 23);
  return uint16_t(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1)) >> 13));
}

constexpr float bf16_to_float(uint16_t b) { return std::bit_cast<float>(uint32_t(b) << 16); }

constexpr uint16_t float_to_bf16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

}  // namespace vibee
