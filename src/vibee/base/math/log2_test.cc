// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/math/log2.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

TEST(Log2, IsTheLogarithm) {
  for (double x = 1e-300; x < 1e300; x *= 1.00713)
    ASSERT_NEAR(log2_of(x), std::log2(x), 1e-15 * (1 + std::fabs(std::log2(x)))) << x;
  for (double x = 0.5; x < 2; x += 0.00037)
    ASSERT_NEAR(log2_of(x), std::log2(x), 1e-15 * (1 + std::fabs(std::log2(x))));
  for (int e = -1074; e < 1024; ++e) EXPECT_EQ(log2_of(std::ldexp(1.0, e)), e);
}

}  // namespace
}  // namespace vibee
