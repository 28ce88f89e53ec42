// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/measure/measure.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

TEST(Measure, Median) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(Measure, FindsFivePercentInNoiseOfTenAndStaysCalmWithoutOne) {
  RandomStream random(17, Purpose::test);
  int found = 0, false_alarms = 0;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> a, b, c;
    for (int i = 0; i < 40; ++i) {
      const double weather = 1 + 0.3 * random.uniform();  // shared by the pair
      a.push_back(1.05 * weather * (1 + 0.04 * random.normal()));
      b.push_back(weather * (1 + 0.04 * random.normal()));
      c.push_back(weather * (1 + 0.04 * random.normal()));
    }
    found += paired_ratio(a, b).differs(0.02);
    false_alarms += paired_ratio(c, b).differs(0.02);
  }
  EXPECT_GE(found, 180);
  EXPECT_LE(false_alarms, 20);
}

TEST(Measure, FewPairsPromiseNothing) {
  const PairedRatio r = paired_ratio({2, 2}, {1, 1});
  EXPECT_EQ(r.ratio, 2);
  EXPECT_FALSE(r.differs(0.01));
}

}  // namespace
}  // namespace vibee
