// SPDX-License-Identifier: Apache-2.0
// The kernels of round_operand.h as loops over bits of floats, which compilers make vectors of; included by
// round_operand_<isa>.cc only.
#pragma once

#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/gemm/round_operand.h"

namespace vibee {
namespace {

constexpr uint32_t kTile = 512;
constexpr uint32_t kInfinite = 0x7f800000u;

inline uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// n <= kTile numbers as floats: where they lie, or in `tile`.
inline const float* floats_of(const void* x, Format element, uint64_t at, uint32_t n, float* tile) {
  if (element == Format::f32) return static_cast<const float*>(x) + at;
  const uint16_t* from = static_cast<const uint16_t*>(x) + at;
  for (uint32_t i = 0; i < n; i += 16) {
    uint16_t some[16] = {};
    std::memcpy(some, from + i, 2 * (n - i < 16 ? n - i : 16));
    v_store(tile + i, element == Format::bf16 ? v_load_bf16(some) : v_load_half(some));
  }
  return tile;
}
/// Bits of the largest size: those of what is not finite are above all others.
inline uint32_t largest_bits(const float* x, uint32_t n) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t size = bits_of(x[i]) & 0x7fffffffu;
    most = size > most ? size : most;
  }
  return most;
}

/// y to the nearest number: its step is that of its power of two, which a sum with 1.5 * 2^23 steps rounds to.
inline float nearest(float y, const SmallFloat& to, uint32_t least, float magic) {
  y = y < to.largest ? y : to.largest;
  y = y > -to.largest ? y : -to.largest;
  const uint32_t power = bits_of(y) & kInfinite;
  const float big = float_of(power > least ? power : least) * magic;
  return (y + big) - big;
}
struct Nearest {
  explicit Nearest(const SmallFloat& f)
      : to(f),
        least(uint32_t(127 + f.least_exponent) << 23),
        magic(1.5f * float_of(uint32_t(127 + 23 - f.mantissa) << 23)) {}
  const SmallFloat& to;
  uint32_t least;
  float magic;
  float operator()(float y) const { return nearest(y, to, least, magic); }
};
/// Behind a power of two: exponents biased by 127; both are numbers of any e below 255.
inline float power_of(uint32_t e) { return float_of(e == 0 ? 0x00400000u : e << 23); }
inline uint32_t block_exponent(uint32_t most, const SmallFloat& to) {
  const int e = int(most >> 23) - to.most_exponent;
  return uint32_t(e < 0 ? 0 : e > 254 ? 254 : e);
}
inline uint16_t upper(float exact) { return uint16_t(bits_of(exact) >> 16); }

float largest_of(const void* x, Format element, uint64_t n) {
  alignas(64) float tile[kTile];
  uint32_t most = 0;
  for (uint64_t at = 0; at < n; at += kTile) {
    const auto some = uint32_t(n - at < kTile ? n - at : kTile);
    const uint32_t bits = largest_bits(floats_of(x, element, at, some, tile), some);
    most = bits > most ? bits : most;
  }
  return float_of(most);
}

float round_scaled(const void* x, Format element, uint64_t n, const SmallFloat& to, float scale, uint16_t* out) {
  alignas(64) float tile[kTile];
  const Nearest near(to);
  uint32_t most = 0;
  for (uint64_t at = 0; at < n; at += kTile) {
    const auto some = uint32_t(n - at < kTile ? n - at : kTile);
    const float* v = floats_of(x, element, at, some, tile);
    const uint32_t bits = largest_bits(v, some);
    most = bits > most ? bits : most;
    for (uint32_t i = 0; i < some; ++i) {
      const uint16_t rounded = upper(near(v[i] * scale));
      out[at + i] = (bits_of(v[i]) & 0x7fffffffu) >= kInfinite ? uint16_t(0x7fc0) : rounded;
    }
  }
  return float_of(most);
}

void round_along(const void* x, Format element, uint32_t n, const SmallFloat& to, uint16_t* out) {
  alignas(64) float tile[kScaledBlock];
  const Nearest near(to);
  for (uint32_t at = 0; at < n; at += kScaledBlock) {
    const uint32_t some = n - at < kScaledBlock ? n - at : kScaledBlock;
    const float* v = floats_of(x, element, at, some, tile);
    const uint32_t most = largest_bits(v, some), e = block_exponent(most, to);
    const float by = power_of(254 - e), scale = most >= kInfinite ? __builtin_nanf("") : power_of(e);
    for (uint32_t i = 0; i < some; ++i) out[at + i] = upper(near(v[i] * by) * scale);
  }
}

void round_across(const void* x, Format element, uint64_t ld, uint32_t rows, uint32_t columns, const SmallFloat& to,
                  uint16_t* out) {
  alignas(64) float tile[kTile];
  alignas(64) float by[kTile], scale[kTile];
  alignas(64) uint32_t most[kTile];
  const Nearest near(to);
  for (uint32_t c = 0; c < columns; c += kTile) {
    const uint32_t some = columns - c < kTile ? columns - c : kTile;
    std::memset(most, 0, sizeof most);
    for (uint32_t r = 0; r < rows; ++r) {
      const float* v = floats_of(x, element, r * ld + c, some, tile);
      for (uint32_t i = 0; i < some; ++i) {
        const uint32_t size = bits_of(v[i]) & 0x7fffffffu;
        most[i] = size > most[i] ? size : most[i];
      }
    }
    for (uint32_t i = 0; i < some; ++i) {
      const uint32_t e = block_exponent(most[i], to);
      by[i] = power_of(254 - e), scale[i] = most[i] >= kInfinite ? __builtin_nanf("") : power_of(e);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      const float* v = floats_of(x, element, r * ld + c, some, tile);
      for (uint32_t i = 0; i < some; ++i) out[r * ld + c + i] = upper(near(v[i] * by[i]) * scale[i]);
    }
  }
}

constexpr SmallFloatKernels kSmallFloatKernels = {largest_of, round_scaled, round_along, round_across};

}  // namespace
}  // namespace vibee
