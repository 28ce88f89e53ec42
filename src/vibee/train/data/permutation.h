// SPDX-License-Identifier: Apache-2.0
// A seeded permutation of [0, n) that needs no memory: a Feistel network over the next power of four, walked until it
// falls inside (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Its rounds are Philox.
#pragma once

#include <bit>

#include "vibee/base/random/philox.h"

namespace vibee {

class Permutation {
 public:
  /// 0 < n <= 2^62. (seed, stream, epoch) choose the permutation.
  Permutation(uint64_t n, uint64_t seed, uint32_t stream, uint32_t epoch)
      : n_(n), seed_(seed), stream_(stream), epoch_(epoch), half_(uint32_t(std::bit_width(n - 1) + 1) / 2) {}

  /// Where `i` < n goes.
  uint64_t operator()(uint64_t i) const {
    do {
      i = walk(i);
    } while (i >= n_);
    return i;
  }

 private:
  static constexpr uint32_t kRounds = 8;
  uint64_t walk(uint64_t i) const {
    const uint64_t mask = (uint64_t(1) << half_) - 1;
    uint64_t left = i >> half_, right = i & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      // The rounds of a stream are streams of their own.
      const uint64_t index = right | uint64_t(epoch_) << 32;
      const uint64_t next = left ^ (philox(seed_, Purpose::data, stream_ << 3 | round, index)[0] & mask);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }

  uint64_t n_, seed_;
  uint32_t stream_, epoch_, half_;
};

}  // namespace vibee
