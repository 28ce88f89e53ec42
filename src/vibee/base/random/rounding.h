// SPDX-License-Identifier: Apache-2.0
// Random bits that round numbers of an array: those of element i are a function of a key and i, whoever asks.
#pragma once

#include "vibee/base/random/philox.h"

namespace vibee {

/// Elements whose bits come of sixteen counters; kernels begin at multiples of it.
inline constexpr uint64_t kRoundingUnit = 128;

/// Whose random numbers round: those of element i are a function of this and i, whoever stores it.
struct RoundingKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::rounding;
  uint64_t step = 0;     ///< below 2^44
  uint32_t array = 0;    ///< below 2^20: which array
  uint64_t element = 0;  ///< below 2^35, a multiple of 128: the first of the block in the array
};
/// The counter of the first of the 16 random numbers of 128 elements, their `unit`; internal, for it is compiled for
/// every instruction set.
static inline uint64_t rounding_counter(const RoundingKey& key, uint64_t unit) {
  return (key.step >> 32 << 20 | key.array) << 32 | 16 * unit;
}

/// The 16 random bits that round element i of `key`: what kernels use (base/simd/random_unit.h), one by one.
uint16_t rounding_bits(const RoundingKey& key, uint64_t i);

}  // namespace vibee
