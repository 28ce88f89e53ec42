// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/math/trig.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

TEST(Trig, NearTheLibrary) {
  for (double x = -900000; x < 900000; x += 37.123) {
    double s, c;
    sincos_fixed(x, &s, &c);
    ASSERT_NEAR(s, std::sin(x), 1e-10) << x;
    ASSERT_NEAR(c, std::cos(x), 1e-10) << x;
  }
  for (double x = -4; x < 4; x += 0.001) {
    double s, c;
    sincos_fixed(x, &s, &c);
    ASSERT_NEAR(s, std::sin(x), 1e-15);
    ASSERT_NEAR(c, std::cos(x), 1e-15);
  }
}

}  // namespace
}  // namespace vibee
