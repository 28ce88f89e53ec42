// SPDX-License-Identifier: Apache-2.0
// The bits of rounding_bits() for 128 elements at once, for code that is compiled once an instruction set.
#pragma once

#include "vibee/base/random/rounding.h"
#include "vibee/base/simd/philox16.h"

namespace vibee {
namespace {

/// Those of elements 128 group .. 128 group + 127.
inline void random_unit(const RoundingKey& key, uint64_t group, uint16_t* out) {
  const uint64_t first = rounding_counter(key, group);  // a multiple of 16: the sixteen differ in one word
  uint32_t words[4][16];
  philox16(uint32_t(first), uint32_t(first >> 32), uint32_t(key.step), uint32_t(key.purpose), key.seed, words);
  for (uint32_t w = 0; w < 4; ++w)
    for (uint32_t i = 0; i < 16; ++i) {
      out[32 * w + i] = uint16_t(words[w][i]);
      out[32 * w + 16 + i] = uint16_t(words[w][i] >> 16);
    }
}

}  // namespace
}  // namespace vibee
