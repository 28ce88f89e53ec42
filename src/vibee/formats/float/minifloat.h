// SPDX-License-Identifier: Apache-2.0
// Floats of 4 to 8 bits: a sign, E bits of exponent, M of mantissa. Those of OCP's Microscaling formats 1.0
// (section 5.3) and OFP8: every code has a value, and a float is rounded to the nearest one, ties to the even code,
// beyond the largest to the largest.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace vibee {

/// What the codes with the largest exponent mean beside numbers.
enum class Specials : uint8_t {
  none,  ///< all are numbers
  nan,   ///< the one with all bits set is NaN (E4M3 of OFP8)
  ieee,  ///< infinity and NaN, as in IEEE 754
};

template <int E, int M, int Bias, Specials S>
struct Minifloat {
  static constexpr int kBits = 1 + E + M;
  static constexpr uint32_t kSign = 1u << (E + M), kCodes = 1u << kBits, kMantissa = (1u << M) - 1;
  /// The largest code of a finite positive number.
  static constexpr uint32_t kLargest = S == Specials::none  ? kSign - 1
                                       : S == Specials::nan ? kSign - 2
                                                            : kSign - 1 - (1u << M);

  static constexpr float decode(uint32_t code) {
    const uint32_t magnitude = code & (kSign - 1), exponent = magnitude >> M, mantissa = magnitude & kMantissa;
    const uint32_t sign = code & kSign ? 0x80000000u : 0;
    if (magnitude > kLargest) {
      const bool infinite = S == Specials::ieee && mantissa == 0;
      return std::bit_cast<float>(sign | (infinite ? 0x7f800000u : 0x7fc00000u));
    }
    if (exponent > 0)
      return std::bit_cast<float>(sign | (exponent + uint32_t(127 - Bias)) << 23 | mantissa << (23 - M));
    // Below the smallest normal number: mantissa times 2^(1 - Bias - M), a normal float.
    const float unit = std::bit_cast<float>(uint32_t(127 + 1 - Bias - M) << 23);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(float(mantissa) * unit));
  }

  /// NaN becomes NaN, or the largest number where there is none.
  static constexpr uint32_t encode(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffffu, sign = bits >> 31 ? kSign : 0;
    if (magnitude > 0x7f800000u) return sign | (S == Specials::none ? kLargest : kSign - 1);
    const int exponent = int(magnitude >> 23) - 127 + Bias;
    if (exponent > (1 << E)) return sign | kLargest;
    uint32_t code = 0;
    if (exponent >= 1) {
      code = nearest((magnitude & 0x7fffffu) | uint32_t(exponent) << 23, 23 - M);
    } else {
      // The step is 2^(1 - Bias - M): the mantissa with its leading one, so many places further down.
      const int down = 23 - M + 1 - exponent;
      const uint32_t mantissa = magnitude >> 23 ? (magnitude & 0x7fffffu) | 0x800000u : 0;
      code = down > 25 ? 0 : nearest(mantissa, down);
    }
    return sign | (code < kLargest ? code : kLargest);
  }

 private:
  static constexpr uint32_t nearest(uint32_t x, int drop) {
    const uint32_t half = 1u << (drop - 1), odd = x >> drop & 1;
    return (x + half - 1 + odd) >> drop;
  }
};

using E4m3 = Minifloat<4, 3, 7, Specials::nan>;
using E5m2 = Minifloat<5, 2, 15, Specials::ieee>;
using E3m2 = Minifloat<3, 2, 3, Specials::none>;
using E2m3 = Minifloat<2, 3, 1, Specials::none>;
using E2m1 = Minifloat<2, 1, 1, Specials::none>;

}  // namespace vibee
