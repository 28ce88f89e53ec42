// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/random/rounding.h"

namespace vibee {

uint16_t rounding_bits(const RoundingKey& key, uint64_t i) {
  const uint64_t at = i % kRoundingUnit, index = rounding_counter(key, i / kRoundingUnit) + at % 16;
  const uint32_t word = philox(key.seed, key.purpose, uint32_t(key.step), index)[at / 32];
  return uint16_t(word >> (at / 16 % 2 * 16));
}

}  // namespace vibee
