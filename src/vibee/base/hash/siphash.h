// SPDX-License-Identifier: Apache-2.0
// SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein 2012, and their reference implementation): a keyed hash
// for tables whose keys strangers choose. Not for names that leave the process: those are SHA-256.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

namespace vibee {

struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

class SipHash {
 public:
  SipHash(uint64_t key0, uint64_t key1) : key0_(key0), key1_(key1) {}

  Hash128 operator()(std::span<const uint8_t> bytes) const {
    uint64_t v[4] = {key0_ ^ 0x736f6d6570736575, key1_ ^ 0x646f72616e646f6d ^ 0xee, key0_ ^ 0x6c7967656e657261,
                     key1_ ^ 0x7465646279746573};
    const auto mix = [&](uint64_t word) {
      v[3] ^= word;
      round(v);
      round(v);
      v[0] ^= word;
    };
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + at, 8);
      mix(word);
    }
    uint64_t last = uint64_t(bytes.size()) << 56;
    for (size_t i = at; i < bytes.size(); ++i) last |= uint64_t(bytes[i]) << 8 * (i - at);
    mix(last);
    v[2] ^= 0xee;
    for (int i = 0; i < 4; ++i) round(v);
    const uint64_t low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; ++i) round(v);
    return {low, v[0] ^ v[1] ^ v[2] ^ v[3]};
  }

 private:
  static void round(uint64_t* v) {
    v[0] += v[1];
    v[1] = std::rotl(v[1], 13) ^ v[0];
    v[0] = std::rotl(v[0], 32);
    v[2] += v[3];
    v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = std::rotl(v[1], 17) ^ v[2];
    v[2] = std::rotl(v[2], 32);
  }
  uint64_t key0_, key1_;
};
static_assert(std::endian::native == std::endian::little);

}  // namespace vibee
