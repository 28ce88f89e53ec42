// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/random/philox.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

// Known answers published with Random123 1.09 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0), (Philox4{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  const uint32_t f = 0xffffffffu;
  EXPECT_EQ(philox4x32({f, f, f, f}, ~uint64_t(0)), (Philox4{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(
      philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, (uint64_t(0x299f31d0u) << 32) | 0xa4093822u),
      (Philox4{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, UnitFloatStaysInside) {
  EXPECT_GT(unit_float(0), 0.0f);
  EXPECT_LT(unit_float(0xffffffffu), 1.0f);
}

TEST(Philox, StreamHasMomentsOfNormal) {
  RandomStream random(7, Purpose::test);
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0.0, 5 / std::sqrt(1e5));
  EXPECT_NEAR(squares / 1e5, 1.0, 5 * std::sqrt(2 / 1e5));
}

}  // namespace
}  // namespace vibee
