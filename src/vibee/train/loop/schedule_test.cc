// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/schedule.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

Schedule of(ScheduleKind kind) { return {kind, 110, 10, 20, 1.0, 0.1}; }

TEST(Schedule, RisesOnALineWhateverFollows) {
  for (const char* name : {"constant", "linear", "cosine", "wsd"}) {
    const Schedule s = of(*find_schedule(name));
    EXPECT_DOUBLE_EQ(rate_at(s, 1), 0.1) << name;
    EXPECT_DOUBLE_EQ(rate_at(s, 5), 0.5) << name;
    EXPECT_DOUBLE_EQ(rate_at(s, 10), 1.0) << name;
  }
  EXPECT_FALSE(find_schedule("cosin"));
}

TEST(Schedule, FallsAsItsNameSays) {
  const auto at = [](ScheduleKind kind, uint64_t t) { return rate_at(of(kind), t); };
  EXPECT_DOUBLE_EQ(at(ScheduleKind::constant, 110), 1);
  EXPECT_DOUBLE_EQ(at(ScheduleKind::linear, 60), 0.55);
  EXPECT_DOUBLE_EQ(at(ScheduleKind::linear, 110), 0.1);
  EXPECT_NEAR(at(ScheduleKind::cosine, 60), 0.55, 1e-12);
  EXPECT_NEAR(at(ScheduleKind::cosine, 35), 0.1 + 0.9 * 0.853553390593274, 1e-12);
  EXPECT_NEAR(at(ScheduleKind::cosine, 110), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(at(ScheduleKind::wsd, 90), 1);
  EXPECT_DOUBLE_EQ(at(ScheduleKind::wsd, 100), 0.55);
  EXPECT_DOUBLE_EQ(at(ScheduleKind::wsd, 110), 0.1);
  for (const ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::wsd})
    EXPECT_DOUBLE_EQ(at(kind, 1000), at(kind, 110));
}

TEST(Schedule, TakesWarmupAndDecayAsLongAsTheRun) {
  const Schedule s{ScheduleKind::wsd, 4, 4, 9, 1, 0};
  for (uint64_t t = 1; t <= 5; ++t) EXPECT_DOUBLE_EQ(rate_at(s, t), double(std::min<uint64_t>(t, 4)) / 4);
  const Schedule falls{ScheduleKind::wsd, 4, 0, 9, 1, 0};
  EXPECT_DOUBLE_EQ(rate_at(falls, 1), 0.75);
  EXPECT_DOUBLE_EQ(rate_at(falls, 4), 0);
}

}  // namespace
}  // namespace vibee
