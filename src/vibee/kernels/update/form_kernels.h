// SPDX-License-Identifier: Apache-2.0
// What is loaded and stored of each form, as kernels of one instruction set; included by forms_<isa>.cc only. Loops
// over whole arrays by integer arithmetic, which compilers make vectors of; every result is the same on all of them.
#pragma once

#include <cstring>

#include "vibee/base/simd/random_unit.h"
#include "vibee/base/simd/v16.h"
#include "vibee/kernels/update/weight_form.h"

namespace vibee {
namespace {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float widen(uint16_t x) { return float_of(uint32_t(x) << 16); }
/// To nearest, ties to even; NaN stays NaN.
inline uint16_t narrow(float x) {
  const uint32_t bits = bits_of(x), nearest = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  return uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : nearest);
}
/// To nearest, ties away from zero: what is left of the bits is a signed 16-bit number, exactly.
inline uint16_t upper(float x) { return uint16_t((bits_of(x) + 0x8000u) >> 16); }

inline const uint16_t* halves(const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); }
inline uint16_t* halves(uint8_t* p) { return reinterpret_cast<uint16_t*>(p); }

/// Adds the random bits to the magnitude and cuts: up with the probability of what is cut. Finite stays finite.
inline uint16_t narrow_at_random(float x, uint16_t random) {
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
  const uint32_t sum = (magnitude + random) >> 16, finite = sum < 0x7f80u ? sum : 0x7f7fu;
  const uint32_t rest = magnitude > 0x7f800000u ? magnitude >> 16 | 0x40u : 0x7f80u;
  return uint16_t((bits >> 16 & 0x8000u) | (magnitude < 0x7f800000u ? finite : rest));
}

void load_f32(const uint8_t* copy, const uint8_t*, uint64_t n, float* x) { std::memcpy(x, copy, 4 * n); }
void store_f32(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t*) { std::memcpy(copy, x, 4 * n); }

void load_bf16(const uint8_t* copy, const uint8_t*, uint64_t n, float* x) {
  for (uint64_t i = 0; i < n; ++i) x[i] = widen(halves(copy)[i]);
}
void store_bf16(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t*) {
  for (uint64_t i = 0; i < n; ++i) halves(copy)[i] = narrow(x[i]);
}

constexpr LoadForm load_bf16_sr = load_bf16;
void store_bf16_sr(const float* x, uint64_t n, const RoundingKey& key, uint8_t* copy, uint8_t*) {
  uint16_t random[kUpdateUnit];
  for (uint64_t at = 0; at < n; at += kUpdateUnit) {
    random_unit(key, (key.element + at) / kUpdateUnit, random);
    const uint64_t count = n - at < kUpdateUnit ? n - at : kUpdateUnit;
    for (uint64_t i = 0; i < count; ++i) halves(copy)[at + i] = narrow_at_random(x[at + i], random[i]);
  }
}

/// The update is how far the rule moved what it saw, the copy.
constexpr LoadForm load_bf16_kahan = load_bf16;
void store_bf16_kahan(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t* rest) {
  for (uint64_t i = 0; i < n; ++i) {
    const float old = widen(halves(copy)[i]), y = (x[i] - old) - widen(halves(rest)[i]);
    const uint16_t sum = narrow(old + y);
    halves(rest)[i] = narrow(widen(narrow(widen(sum) - old)) - y);
    halves(copy)[i] = sum;
  }
}

void load_bf16_master(const uint8_t*, const uint8_t* rest, uint64_t n, float* x) { std::memcpy(x, rest, 4 * n); }
void store_bf16_master(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t* rest) {
  std::memcpy(rest, x, 4 * n);
  for (uint64_t i = 0; i < n; ++i) halves(copy)[i] = upper(x[i]);
}

void load_bf16_split(const uint8_t* copy, const uint8_t* rest, uint64_t n, float* x) {
  for (uint64_t i = 0; i < n; ++i)
    x[i] = float_of((uint32_t(halves(copy)[i]) << 16) + uint32_t(int32_t(int16_t(halves(rest)[i]))));
}
void store_bf16_split(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t* rest) {
  for (uint64_t i = 0; i < n; ++i) {
    halves(copy)[i] = upper(x[i]);
    halves(rest)[i] = uint16_t(bits_of(x[i]));
  }
}

void load_f16(const uint8_t* copy, const uint8_t*, uint64_t n, float* x) {
  uint64_t i = 0;
  for (; i + 16 <= n; i += 16) v_store(x + i, v_load_half(halves(copy) + i));
  uint16_t last[16] = {};
  std::memcpy(last, halves(copy) + i, 2 * (n - i));
  v_store_n(x + i, v_load_half(last), int(n - i));
}
void store_f16(const float* x, uint64_t n, const RoundingKey&, uint8_t* copy, uint8_t*) {
  uint64_t i = 0;
  for (; i + 16 <= n; i += 16) v_store_half(halves(copy) + i, v_load(x + i));
  uint16_t last[16];
  v_store_half(last, v_load_n(x + i, int(n - i)));
  std::memcpy(halves(copy) + i, last, 2 * (n - i));
}

constexpr LoadForm load_f16_master = load_bf16_master;
void store_f16_master(const float* x, uint64_t n, const RoundingKey& key, uint8_t* copy, uint8_t* rest) {
  std::memcpy(rest, x, 4 * n);
  store_f16(x, n, key, copy, nullptr);
}

}  // namespace
}  // namespace vibee
