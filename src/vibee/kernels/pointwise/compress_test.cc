// SPDX-License-Identifier: Apache-2.0
// Rows in few bits: the bound of a round trip, its mean over seeds, the same bytes on every instruction set, and what
// numbers at the edges of floats become.
#include "vibee/kernels/pointwise/compress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace vibee {
namespace {

constexpr uint32_t kBits[] = {1, 2, 4, 8};
const uint32_t kSizes[] = {1, 2, 7, 16, 17, 64, 100, 129, 255, 256, 257, 576, 1000};

std::vector<float> normals(uint32_t n, uint32_t stream) {
  RandomStream random(3, Purpose::test, stream);
  std::vector<float> v(n);
  for (float& x : v) x = random.normal();
  return v;
}
RoundingKey key(uint64_t seed, uint64_t element = 0) { return {seed, Purpose::compressing, 5, 3, element}; }

std::vector<uint8_t> compressed(Isa isa, const std::vector<float>& x, uint32_t bits, const RoundingKey& k) {
  std::vector<uint8_t> out(compressed_bytes(x.size(), bits) + 1, 0xa5);
  compress_kernels(isa).compress(x.data(), uint32_t(x.size()), bits, k, out.data());
  EXPECT_EQ(out.back(), 0xa5) << "writes behind its row";
  out.pop_back();
  return out;
}
std::vector<float> back(Isa isa, const std::vector<uint8_t>& row, uint32_t n, uint32_t bits) {
  std::vector<float> x(n + 1, 7.0f);
  compress_kernels(isa).decompress(row.data(), n, bits, x.data());
  EXPECT_EQ(x.back(), 7.0f) << "writes behind its row";
  x.pop_back();
  return x;
}
std::vector<float> round_trip(const std::vector<float>& x, uint32_t bits, const RoundingKey& k) {
  const Isa isa = detected_isa();
  return back(isa, compressed(isa, x, bits, k), uint32_t(x.size()), bits);
}
/// The step of a group: its range as it lies, over the levels.
double step_of(const std::vector<uint8_t>& row, uint32_t group, uint32_t bits) {
  uint16_t ends[2];
  std::memcpy(ends, row.data() + group * compressed_bytes(kCompressGroup, bits), 4);
  float low, high;
  for (const auto& [half, x] : {std::pair{ends[0], &low}, std::pair{ends[1], &high}}) {
    const uint32_t word = uint32_t(half) << 16;
    std::memcpy(x, &word, 4);
  }
  return (double(high) - low) / ((1u << bits) - 1);
}

TEST(Compress, TakesFourBytesAGroupAndItsCodes) {
  EXPECT_EQ(compressed_bytes(256, 4), 132u);
  EXPECT_EQ(compressed_bytes(576, 4), 2 * 132 + 4 + 32u);
  EXPECT_EQ(compressed_bytes(256, 1), 36u);
  EXPECT_EQ(compressed_bytes(3, 2), 5u);
  EXPECT_EQ(compressed_bytes(0, 8), 0u);
}

TEST(Compress, ComesBackWithinAStep) {
  for (const uint32_t bits : kBits)
    for (const uint32_t n : kSizes) {
      const auto x = normals(n, n + bits);
      const auto row = compressed(detected_isa(), x, bits, key(1));
      const auto y = back(detected_isa(), row, n, bits);
      for (uint32_t i = 0; i < n; ++i)
        EXPECT_LE(std::fabs(double(y[i]) - x[i]), step_of(row, i / kCompressGroup, bits) * (1 + 1e-5))
            << bits << " " << i;
    }
}

TEST(Compress, HasTheSameBytesOnEveryInstructionSet) {
  for (const uint32_t bits : kBits)
    for (const uint32_t n : kSizes) {
      const auto x = normals(n, n);
      const auto plain = compressed(Isa::scalar, x, bits, key(2, 512));
      const auto floats = back(Isa::scalar, plain, n, bits);
      for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        if (isa > detected_isa()) continue;
        EXPECT_EQ(compressed(isa, x, bits, key(2, 512)), plain) << name(isa) << " " << bits << " " << n;
        const auto other = back(isa, plain, n, bits);
        EXPECT_EQ(0, std::memcmp(other.data(), floats.data(), 4 * n)) << name(isa) << " " << bits << " " << n;
      }
    }
}

/// The reference computes in double: where a float's rounding decides, codes differ by one.
TEST(Compress, IsWhatItsDefinitionSays) {
  for (const uint32_t bits : kBits) {
    uint32_t others = 0, all = 0;
    for (const uint32_t n : kSizes) {
      const auto x = normals(n, 2 * n);
      auto exact = x;
      compress_reference(exact.data(), n, bits, key(9));
      const auto row = compressed(detected_isa(), x, bits, key(9));
      const auto y = back(detected_isa(), row, n, bits);
      for (uint32_t i = 0; i < n; ++i) {
        const double step = step_of(row, i / kCompressGroup, bits), off = std::fabs(double(y[i]) - exact[i]);
        EXPECT_TRUE(off <= 1e-5 * (1 + std::fabs(exact[i])) || off <= step * 1.0001) << bits << " " << n << " " << i;
        others += off > 1e-5 * (1 + std::fabs(exact[i]));
      }
      all += n;
    }
    EXPECT_LE(others, all / 500) << bits;
  }
}

TEST(Compress, IsRightInExpectation) {
  constexpr uint32_t kSeeds = 4096, kN = 300;
  const auto x = normals(kN, 4);
  for (const uint32_t bits : kBits) {
    std::vector<double> sum(kN), squares(kN);
    for (uint32_t seed = 0; seed < kSeeds; ++seed) {
      const auto y = round_trip(x, bits, key(seed));
      for (uint32_t i = 0; i < kN; ++i) {
        const double d = double(y[i]) - x[i];
        sum[i] += d;
        squares[i] += d * d;
      }
    }
    uint32_t far = 0;
    for (uint32_t i = 0; i < kN; ++i) {
      const double mean = sum[i] / kSeeds, error = std::sqrt((squares[i] / kSeeds - mean * mean) / kSeeds);
      far += std::fabs(mean) > 4 * error + 1e-6;
    }
    EXPECT_LE(far, kN / 1000 + 1) << bits;
  }
}

TEST(Compress, DrawsOtherNumbersForOtherKeys) {
  const auto x = normals(256, 5);
  const RoundingKey first = key(1);
  RoundingKey others[] = {first, first, first, first};
  others[0].seed = 2, others[1].step = 6, others[2].array = 4, others[3].element = 256;
  for (const RoundingKey& other : others)
    EXPECT_NE(compressed(detected_isa(), x, 4, other), compressed(detected_isa(), x, 4, first));
}

TEST(Compress, KeepsWhatIsOnAStep) {
  for (const uint32_t bits : kBits) {
    std::vector<float> x(256);
    for (uint32_t i = 0; i < 256; ++i) x[i] = -4.0f + float(i % (1u << bits)) * 0.25f;
    for (uint64_t seed = 0; seed < 50; ++seed) EXPECT_EQ(round_trip(x, bits, key(seed)), x) << bits;
    EXPECT_EQ(round_trip(std::vector<float>(40, 0.0f), bits, key(1)), std::vector<float>(40, 0.0f));
    EXPECT_EQ(round_trip(std::vector<float>(40, -1.5f), bits, key(1)), std::vector<float>(40, -1.5f));
  }
}

TEST(Compress, NumbersAtTheEdgesOfFloats) {
  using Limits = std::numeric_limits<float>;
  for (const uint32_t bits : kBits) {
    // Subnormal groups keep their bound.
    std::vector<float> tiny(64);
    for (uint32_t i = 0; i < 64; ++i) tiny[i] = float(i) * 0x1p-140f;
    const auto row = compressed(detected_isa(), tiny, bits, key(1));
    const auto y = back(detected_isa(), row, 64, bits);
    for (uint32_t i = 0; i < 64; ++i)
      EXPECT_LE(std::fabs(double(y[i]) - tiny[i]), step_of(row, 0, bits) * 1.01 + 1e-44);
    EXPECT_EQ(row, compressed(Isa::scalar, tiny, bits, key(1)));
    // What is not finite, or too far apart, spoils its group and no other.
    for (const float bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(), Limits::max()}) {
      auto x = normals(600, 6);
      x[300] = bad;
      if (bad == Limits::max()) x[301] = -bad;
      const auto z = round_trip(x, bits, key(1));
      for (uint32_t i = 0; i < 600; ++i) EXPECT_EQ(std::isnan(z[i]), i / 256 == 1) << bad << " " << i;
      EXPECT_EQ(compressed(detected_isa(), x, bits, key(1)), compressed(Isa::scalar, x, bits, key(1)));
      compress_reference(x.data(), 600, bits, key(1));
      for (uint32_t i = 0; i < 600; ++i) EXPECT_EQ(std::isnan(x[i]), i / 256 == 1) << bad << " " << i;
    }
  }
}

}  // namespace
}  // namespace vibee
