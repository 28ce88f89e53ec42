// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/math/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace vibee {
namespace {

TEST(Half, EveryCodeSurvivesARoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = half_to_float(uint16_t(h));
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(f))));
    } else {
      EXPECT_EQ(float_to_half(f), h);
    }
  }
}

TEST(Half, TiesGoToEvenBetweenAllNeighbours) {
  for (uint32_t h = 0; h + 1 < 0x7c00; ++h) {
    const double low = half_to_float(uint16_t(h)), high = half_to_float(uint16_t(h + 1));
    const float middle = float((low + high) / 2);
    EXPECT_EQ(float_to_half(middle), (h & 1) ? h + 1 : h) << h;
    EXPECT_EQ(float_to_half(std::nextafter(middle, 0.0f)), h) << h;
    EXPECT_EQ(float_to_half(std::nextafter(middle, 1e9f)), h + 1) << h;
  }
}

TEST(Bf16, RoundsToNearestEven) {
  for (uint32_t b = 0; b < 0x7f80; ++b) {
    EXPECT_EQ(float_to_bf16(bf16_to_float(uint16_t(b))), b);
    EXPECT_EQ(float_to_bf16(std::bit_cast<float>((b << 16) | 0x8000u)), (b & 1) ? b + 1 : b);
    EXPECT_EQ(float_to_bf16(std::bit_cast<float>((b << 16) | 0x8001u)), b + 1);
  }
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(NAN))));
}

}  // namespace
}  // namespace vibee
