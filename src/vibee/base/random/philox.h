// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// section 4). Every random number of VIBEE is a function of (seed, purpose, stream, index), never of how many were
// drawn before it.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace vibee {

/// What a random number is for; two purposes never share numbers. Append only: values are part of saved results.
enum class Purpose : uint32_t {
  test = 0,
  sample = 1,
  weights = 2,
  data = 3,
  dropout = 4,
  rounding = 5,
  workload = 6,
  summing = 7,
  compressing = 8
};

using Philox4 = std::array<uint32_t, 4>;

constexpr Philox4 philox4x32(Philox4 counter, uint64_t key) {
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * counter[0];
    const uint64_t p1 = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(p1 >> 32) ^ counter[1] ^ k0, uint32_t(p1), uint32_t(p0 >> 32) ^ counter[3] ^ k1, uint32_t(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

constexpr Philox4 philox(uint64_t seed, Purpose purpose, uint32_t stream, uint64_t index) {
  return philox4x32({uint32_t(index), uint32_t(index >> 32), stream, uint32_t(purpose)}, seed);
}

/// Uniform in (0, 1), never 0 nor 1: 23 random bits in the middle of their cell.
constexpr float unit_float(uint32_t bits) { return (float(bits >> 9) + 0.5f) * 0x1p-23f; }

/// A plain sequence over one stream, for generators and tests.
class RandomStream {
 public:
  RandomStream(uint64_t seed, Purpose purpose, uint32_t stream = 0) : seed_(seed), purpose_(purpose), stream_(stream) {}
  uint32_t bits() {
    if (used_ == 4) {
      block_ = philox(seed_, purpose_, stream_, index_++);
      used_ = 0;
    }
    return block_[used_++];
  }
  float uniform() { return unit_float(bits()); }
  /// Uniform in [0, n), n > 0.
  uint32_t below(uint32_t n) { return uint32_t((uint64_t(bits()) * n) >> 32); }
  /// Standard normal, by Box and Muller.
  float normal() {
    const double radius = std::sqrt(-2.0 * std::log(double(uniform())));
    return float(radius * std::cos(6.283185307179586 * double(uniform())));
  }

 private:
  uint64_t seed_;
  Purpose purpose_;
  uint32_t stream_;
  uint64_t index_ = 0;
  Philox4 block_{};
  int used_ = 4;
};

}  // namespace vibee
