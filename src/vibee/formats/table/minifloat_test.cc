// SPDX-License-Identifier: Apache-2.0
// Floats of 4 to 8 bits: every code and the rounding of 8,192 numbers, all midpoints among them, against ml_dtypes
// (tools/make_block_goldens.py).
#include "vibee/formats/float/minifloat.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace vibee {
namespace {

std::vector<uint8_t> golden(const std::string& name) {
  std::ifstream in(std::string(VIBEE_SOURCE_DIR) + "/data/golden/blocks/minifloat." + name + ".bin", std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class F>
void expect_golden(const std::string& name) {
  const std::vector<uint8_t> codes = golden(name + ".codes"), input = golden("input"),
                             rounded = golden(name + ".rounded");
  ASSERT_EQ(codes.size(), 4 * F::kCodes);
  for (uint32_t c = 0; c < F::kCodes; ++c) {
    float want;
    std::memcpy(&want, codes.data() + 4 * c, 4);
    const float got = F::decode(c);
    ASSERT_TRUE(std::isnan(want) ? std::isnan(got) : std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(want))
        << c;
    if (std::isfinite(want)) {
      ASSERT_EQ(F::encode(got), c);
    }
  }
  ASSERT_EQ(input.size(), 4 * rounded.size());
  for (size_t i = 0; i < rounded.size(); ++i) {
    float x;
    std::memcpy(&x, input.data() + 4 * i, 4);
    ASSERT_EQ(F::encode(x), rounded[i]) << x;
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(F::encode(infinity), F::kLargest);
  EXPECT_EQ(F::encode(-1e30f), F::kSign | F::kLargest);
  EXPECT_EQ(F::encode(-0.0f), F::kSign);
  EXPECT_EQ(F::encode(1e-42f), 0u);
}

TEST(Minifloat, E4m3) { expect_golden<E4m3>("e4m3"); }
TEST(Minifloat, E5m2) { expect_golden<E5m2>("e5m2"); }
TEST(Minifloat, E3m2) { expect_golden<E3m2>("e3m2"); }
TEST(Minifloat, E2m3) { expect_golden<E2m3>("e2m3"); }
TEST(Minifloat, E2m1) { expect_golden<E2m1>("e2m1"); }

}  // namespace
}  // namespace vibee
