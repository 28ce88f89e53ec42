// SPDX-License-Identifier: Apache-2.0
// The dynamic map beside that of bitsandbytes (tools/make_optimiser_goldens.py), and its codes beside their definition.
#include "vibee/formats/codebook/dynamic8.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

std::vector<uint8_t> golden(const std::string& name) {
  std::ifstream in(VIBEE_SOURCE_DIR "/data/golden/optimiser/" + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) all.push_back(isa);
  return all;
}

/// Equal bit for bit: bytes, so that a nan equals itself and -0 is not 0.
bool same_bytes(const void* a, const void* b, size_t n) { return std::memcmp(a, b, n) == 0; }

TEST(Dynamic8, HasTheValuesOfBitsandbytes) {
  const std::vector<uint8_t> maps = golden("maps.bin");
  ASSERT_EQ(maps.size(), 2048u);
  EXPECT_TRUE(same_bytes(dynamic8_map(true).values, maps.data(), 1024));
  EXPECT_TRUE(same_bytes(dynamic8_map(false).values, maps.data() + 1024, 1024));
  EXPECT_EQ(dynamic8_map(true).values[127], 0.0f);
  EXPECT_EQ(dynamic8_map(false).values[0], 0.0f);
}

/// The numbers of tools/make_optimiser_goldens.py.
TEST(Dynamic8, BlocksAreThoseOfBitsandbytes) {
  constexpr size_t kNumbers = 5000, kBlocks = (kNumbers + 255) / 256;
  std::vector<float> x(kNumbers);
  for (int64_t i = 0; i < int64_t(kNumbers); ++i)
    x[size_t(i)] = float(double((i * 7919 + 104729) % 4001 - 2000) * std::exp2(-double(i * 31 % 23)) / 1000);
  const std::vector<uint8_t> want = golden("blocks.bin");
  ASSERT_EQ(want.size(), 2 * (kNumbers + 4 * kBlocks));
  const uint8_t* at = want.data();
  for (const bool is_signed : {true, false}) {
    for (const Isa isa : isas()) {
      std::vector<uint8_t> codes(kNumbers);
      float largest[kBlocks];
      for (size_t b = 0; b < kBlocks; ++b) {
        const size_t n = std::min<size_t>(256, kNumbers - 256 * b);
        largest[b] = dynamic8_kernels(isa).encode(dynamic8_map(is_signed), &x[256 * b], n, &codes[256 * b]);
      }
      size_t other = 0;
      for (size_t i = 0; i < kNumbers; ++i) {
        EXPECT_LE(std::abs(int(codes[i]) - int(at[i])), 1) << x[i];
        other += codes[i] != at[i];
      }
      EXPECT_LE(other, kNumbers / 10000) << name(isa);  // it divides, this multiplies by the inverse
      EXPECT_TRUE(same_bytes(largest, at + kNumbers, sizeof largest)) << name(isa);
    }
    at += kNumbers + 4 * kBlocks;
    for (float& v : x) v = std::fabs(v);
  }
}

/// Every number at and around every bound, and many between.
TEST(Dynamic8, CodesAreTheirDefinitionOnEveryInstructionSet) {
  std::vector<float> x;
  for (const bool is_signed : {true, false})
    for (const float bound : dynamic8_map(is_signed).bounds)
      for (int ulp = -40; ulp <= 40; ++ulp) {
        uint32_t bits;
        std::memcpy(&bits, &bound, 4);
        bits += uint32_t(ulp);
        float y;
        std::memcpy(&y, &bits, 4);
        if (std::fabs(y) <= 1) x.push_back(y), x.push_back(-y);
      }
  RandomStream random(5, Purpose::test);
  for (int i = 0; i < 200000; ++i) x.push_back(std::ldexp(2 * random.uniform() - 1, -(i % 26)));
  for (const float y : {0.0f, -0.0f, 1.0f, -1.0f, 1e-7f, 1e-38f, -1e-38f, 1e-45f, -1e-45f, 0.99296874f, -0.99296874f})
    x.push_back(y);
  x.resize(x.size() / 255 * 255);
  for (const bool is_signed : {true, false}) {
    const Dynamic8Map& map = dynamic8_map(is_signed);
    for (const Isa isa : isas())
      for (size_t at = 0; at < x.size(); at += 255) {
        // The largest of the block is 1, so that its numbers are taken as they are.
        float block[256];
        uint8_t codes[256];
        std::memcpy(block, &x[at], 255 * 4);
        block[255] = 1;
        ASSERT_EQ(dynamic8_kernels(isa).encode(map, block, 256, codes), 1.0f);
        for (int i = 0; i < 256; ++i) ASSERT_EQ(codes[i], dynamic8_code(map, block[i])) << block[i] << " " << name(isa);
      }
  }
}

TEST(Dynamic8, KeepsWhatItHas) {
  for (const Isa isa : isas())
    for (const bool is_signed : {true, false})
      for (const float largest : {1.0f, 3.7e-9f, 2.5e30f}) {
        const Dynamic8Map& map = dynamic8_map(is_signed);
        uint8_t codes[256], again[256];
        float x[256], back[256];
        for (int i = 0; i < 256; ++i) codes[i] = uint8_t(i);
        dynamic8_kernels(isa).decode(map, codes, largest, 256, x);
        EXPECT_EQ(x[255], largest);
        EXPECT_EQ(x[map.zero], 0.0f);
        EXPECT_EQ(dynamic8_kernels(isa).encode(map, x, 256, again), largest);
        EXPECT_EQ(0, std::memcmp(codes, again, 256)) << name(isa) << " " << largest;
        dynamic8_kernels(isa).decode(map, again, largest, 256, back);
        EXPECT_TRUE(same_bytes(x, back, sizeof x));
      }
}

TEST(Dynamic8, StaysFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const size_t n : {1u, 15u, 17u, 256u})
    for (const Isa isa : isas())
      for (const bool is_signed : {true, false}) {
        const Dynamic8Map& map = dynamic8_map(is_signed);
        const auto block = [&](std::vector<float> x) {
          x.resize(n);
          std::vector<uint8_t> codes(n, 77);
          const float largest = dynamic8_kernels(isa).encode(map, x.data(), n, codes.data());
          for (size_t i = 0; i < n; ++i)
            EXPECT_EQ(codes[i], largest == 0 ? map.zero : dynamic8_code(map, x[i] * (1 / largest))) << name(isa);
          std::vector<float> back(n);
          dynamic8_kernels(isa).decode(map, codes.data(), largest, n, back.data());
          for (const float y : back) EXPECT_TRUE(std::isfinite(y));
          return largest;
        };
        EXPECT_EQ(block({}), 0.0f);
        EXPECT_EQ(block({1e-39f}), 0.0f);
        EXPECT_EQ(block({1e-38f, -1e-40f}), 1e-38f);
        EXPECT_EQ(block({kInfinity, 1, -kInfinity}), FLT_MAX);
        EXPECT_EQ(block({-kInfinity, NAN}), FLT_MAX);
        EXPECT_EQ(block({NAN}), 0.0f);
      }
}

}  // namespace
}  // namespace vibee
