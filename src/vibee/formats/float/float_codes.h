// SPDX-License-Identifier: Apache-2.0
// Codes of small floats, 32 at a time, and groups of them behind a scale in f32 (packed/formats.inc). Every value is
// rounded once.
#pragma once

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "vibee/formats/float/minifloat.h"

namespace vibee {
namespace {

inline float read_scale(const uint8_t* p) {
  float v;
  std::memcpy(&v, p, 4);
  return v;
}

/// The values of a minifloat's codes.
template <class F>
constexpr auto kValues = [] {
  std::array<float, F::kCodes> out{};
  for (uint32_t c = 0; c < F::kCodes; ++c) out[c] = F::decode(c);
  return out;
}();

/// Code i of 32 that begin at `p`, of eight or six bits.
template <class F>
uint32_t get_code(const uint8_t* p, uint32_t i) {
  if constexpr (F::kBits == 8) return p[i];
  return (p[i % 16] >> (i < 16 ? 0 : 4) & 15) | (p[16 + i % 8] >> (2 * (i / 8)) & 3) << 4;
}
template <class F>
void put_code(uint8_t* p, uint32_t i, uint32_t code) {  // onto zeros
  if constexpr (F::kBits == 8) {
    p[i] = uint8_t(code);
  } else {
    p[i % 16] = uint8_t(p[i % 16] | (code & 15) << (i < 16 ? 0 : 4));
    p[16 + i % 8] = uint8_t(p[16 + i % 8] | code >> 4 << (2 * (i / 8)));
  }
}
template <class F>
constexpr uint32_t kBytes32 = 4 * F::kBits;  ///< of 32 codes

/// Groups of a minifloat F behind a scale in f32.
template <class F, uint32_t Group>
void decode_groups(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= Group, out += Group) {
    const float scale = read_scale(in);
    in += 4;
    for (uint32_t i = 0; i < Group; i += 32, in += kBytes32<F>)
      for (uint32_t j = 0; j < 32; ++j) out[i + j] = scale * kValues<F>[get_code<F>(in, j)];
  }
}

/// The largest size of finite numbers.
inline float largest(const float* in, uint32_t n) {
  float most = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (std::isfinite(in[i])) most = std::max(most, std::fabs(in[i]));
  return most;
}
/// A scale that can be divided by.
inline float usable(float scale) { return scale > FLT_MIN ? scale : FLT_MIN; }

template <class F>
void encode_codes(const float* in, float scale, uint8_t* out) {
  std::memset(out, 0, kBytes32<F>);
  for (uint32_t j = 0; j < 32; ++j) put_code<F>(out, j, std::isnan(in[j]) ? 0 : F::encode(in[j] / scale));
}
template <class F, uint32_t Group>
void encode_groups(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group) {
    const float scale = usable(largest(in, Group) / F::decode(F::kLargest));
    std::memcpy(out, &scale, 4);
    out += 4;
    for (uint32_t i = 0; i < Group; i += 32, in += 32, out += kBytes32<F>) encode_codes<F>(in, scale, out);
  }
}

}  // namespace
}  // namespace vibee
