// SPDX-License-Identifier: Apache-2.0
// Rates between and beyond what was measured.
#include "vibee/hw/cost/machine_rates.h"

#include <gtest/gtest.h>

#include <cmath>

namespace vibee {
namespace {

TEST(RateGrid, HoldsItsPointsAndTheNearestBeyond) {
  const RateGrid g{{{2, 8}, {10, 100, 1000}}, {1, 2, 3, 4, 5, 6}};
  EXPECT_DOUBLE_EQ(g.at({2, 10}), 1);
  EXPECT_DOUBLE_EQ(g.at({2, 1000}), 3);
  EXPECT_DOUBLE_EQ(g.at({8, 100}), 5);
  EXPECT_DOUBLE_EQ(g.at({1, 5}), 1);
  EXPECT_DOUBLE_EQ(g.at({99, 1e9}), 6);
}

TEST(RateGrid, InterpolatesLogarithms) {
  const RateGrid g{{{4, 16}}, {1, 9}};
  EXPECT_NEAR(g.at({8}), 3, 1e-12);
  const RateGrid plane{{{1, 4}, {1, 4}}, {1, 2, 2, 4}};
  EXPECT_NEAR(plane.at({2, 2}), 2, 1e-12);
  EXPECT_NEAR(plane.at({1, 2}), std::sqrt(2.0), 1e-12);
}

TEST(MachineRates, NoWorkIsFreeAndUnknownWorkHasAPrice) {
  MachineRates m;
  m.barrier = 1e-6;
  m.grids["add"] = {{{100, 1000}}, {1e-9, 1e-9}};
  EXPECT_DOUBLE_EQ(m.seconds("add", {1}, 1), 1e-6);
  EXPECT_DOUBLE_EQ(m.seconds("add", {1e6}, 1e6), 1e-3);
  EXPECT_DOUBLE_EQ(m.seconds("other", {1, 2, 3}, 1e6), 1e-3);
  EXPECT_EQ(m.seconds("add", {0}, 0), 0);
}

}  // namespace
}  // namespace vibee
