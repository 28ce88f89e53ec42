// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/session/step_watch.h"

#include <gtest/gtest.h>

#include <thread>

namespace vibee {
namespace {

TEST(StepWatch, AllowsAMinuteBeforeAnyStepHasEnded) {
  StepWatch w;
  EXPECT_EQ(w.allowed_s(), 60);
  w.begin(256);
  EXPECT_EQ(w.allowed_s(), 60);
  EXPECT_EQ(w.progress(), 1u);
}

TEST(StepWatch, AllowsTenTimesTheSlowestOfItsSizeAndFiveSecondsAtLeast) {
  StepWatch w;
  w.begin(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  w.end();
  EXPECT_EQ(w.progress(), 2u);
  EXPECT_EQ(w.allowed_s(), 5);  // of no rows
  w.begin(5);
  const double as_large = w.allowed_s();
  EXPECT_GE(as_large, 6);
  w.end();
  EXPECT_EQ(w.allowed_s(), 5);
  w.begin(4);
  EXPECT_EQ(w.allowed_s(), as_large);  // a fast one does not make it less
  w.end();
  w.begin(40);  // three sizes more: eight times as long
  EXPECT_DOUBLE_EQ(w.allowed_s(), 8 * as_large);
}

}  // namespace
}  // namespace vibee
