// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/catalog/constants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace vibee {
namespace {

TEST(Constants, FindsMembersOfTheFamily) {
  const struct {
    double value;
    const char* text;
  } cases[] = {{1, "1"},
               {kTargetSpeedUp, "phi^3"},
               {kSpeedUpCeiling, "phi^4"},
               {27, "3^3"},
               {2 * std::numbers::pi, "2 * pi"},
               {5 * 9 / std::numbers::e, "5 * 3^2 * e^-1"},
               {std::pow(kPhi, -4) * 7, "7 * phi^-4"}};
  for (const auto& c : cases) {
    const Result<ConstantFormula> found = nearest_constant(c.value, {});
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->text(), c.text);
    EXPECT_LT(std::fabs(found->relative_error), 1e-14) << c.text;
  }
}

TEST(Constants, LargerBoundsAreNeverWorse) {
  double last = 1;
  for (int exponent : {0, 1, 2, 4, 6}) {
    const Result<ConstantFormula> found = nearest_constant(137.035999, {9, exponent});
    ASSERT_TRUE(found.ok());
    const ConstantFormula& f = *found;
    EXPECT_LE(std::fabs(f.relative_error), last);
    last = std::fabs(f.relative_error);
    const double again =
        f.n * std::pow(3, f.k) * std::pow(std::numbers::pi, f.m) * std::pow(kPhi, f.p) * std::pow(std::numbers::e, f.q);
    EXPECT_NEAR(again / f.value, 1, 1e-13);
    for (int e : {f.k, f.m, f.p, f.q}) EXPECT_LE(std::abs(e), exponent);
  }
  EXPECT_LT(last, 1e-4);
}

TEST(Constants, TheSimplestWithinAToleranceIsNoFartherThanAsked) {
  const Result<ConstantFormula> found = simplest_constant(3.15, 5e-3, {});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->text(), "pi");
  EXPECT_FALSE(simplest_constant(1e300, 1e-3, {}).ok());
}

TEST(Constants, RefusesWhatIsNotInTheFamily) {
  for (double bad : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    EXPECT_FALSE(nearest_constant(bad, {}).ok()) << bad;
  EXPECT_FALSE(nearest_constant(2, {0, 4}).ok());
  EXPECT_FALSE(nearest_constant(2, {9, 100}).ok());
  EXPECT_TRUE(nearest_constant(1e-300, {}).ok());
  EXPECT_TRUE(nearest_constant(std::numeric_limits<double>::max(), {}).ok());
}

}  // namespace
}  // namespace vibee
