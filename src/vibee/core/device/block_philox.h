// SPDX-License-Identifier: Apache-2.0
// The random numbers of base/random/philox.h and rounding.h for block programs: the CPU's bits.
#pragma once

#include "vibee/base/random/rounding.h"
#include "vibee/core/device/block.h"

namespace vibee {

struct PhiloxWords {
  uint32_t at[4];
};

VIBEE_BLOCK PhiloxWords block_philox(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t index) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  PhiloxWords c = {{uint32_t(index), uint32_t(index >> 32), stream, purpose}};
  for (uint32_t round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c.at[0], p1 = uint64_t(0xCD9E8D57u) * c.at[2];
    c = {{uint32_t(p1 >> 32) ^ c.at[1] ^ k0, uint32_t(p1), uint32_t(p0 >> 32) ^ c.at[3] ^ k1, uint32_t(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// The 16 random bits of eight elements of a unit of 128: those of number `of` (below 16), and every sixteenth behind.
struct RoundingWords {
  PhiloxWords words;
  VIBEE_BLOCK RoundingWords(const RoundingKey& key, uint64_t unit, uint32_t of)
      : words(block_philox(key.seed, uint32_t(key.purpose), uint32_t(key.step),
                           ((key.step >> 32 << 20 | key.array) << 32 | 16 * unit) + of)) {}
  VIBEE_BLOCK uint32_t bits(uint32_t j) const { return words.at[j / 2] >> (j % 2 * 16) & 0xffffu; }
};

}  // namespace vibee
