// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"

#include <gtest/gtest.h>

#include <limits>

#include "vibee/core/technique/technique.h"

namespace vibee {
namespace {

TEST(CheckContext, AFigureThatMissesItsBoundFailsTheCheck) {
  CheckContext context(RunSettings{});
  context.at_most("error", 1e-7, 1e-6);
  context.at_least("speed", 2.0, 1.5, "x");
  context.equal("differing bytes", 0, 0);
  EXPECT_TRUE(context.passed());
  context.at_most("error", 2e-6, 1e-6);
  EXPECT_FALSE(context.passed());
  ASSERT_EQ(context.findings().size(), 4u);
  EXPECT_TRUE(context.findings()[2].passed);
  EXPECT_FALSE(context.findings()[3].passed);
}

TEST(CheckContext, NotANumberNeverPasses) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CheckContext context(RunSettings{});
  context.at_most("a", nan, 1);
  context.at_least("b", nan, 1);
  context.equal("c", nan, nan);
  for (const Finding& finding : context.findings()) EXPECT_FALSE(finding.passed) << finding.name;
}

TEST(CheckContext, DeclaresWhatIsNotThere) {
  CheckContext context(RunSettings{}, true);
  EXPECT_TRUE(context.describe_only());
  context.not_built("backward");
  context.needs_device("cuda", "");
  EXPECT_EQ(context.missing_parts(), std::vector<std::string>{"backward"});
  EXPECT_EQ(context.device_needs().front().device, "cuda");
  EXPECT_FALSE(context.modelled());
}

TEST(CheckContext, ProgressCanAskToStop) {
  RunSettings settings;
  EXPECT_TRUE(CheckContext(settings).proceed("x", 0.5));
  settings.progress = [](std::string_view, double fraction) { return fraction < 0.5; };
  EXPECT_TRUE(CheckContext(settings).proceed("x", 0.4));
  EXPECT_FALSE(CheckContext(settings).proceed("x", 0.6));
}

TEST(Promise, HasOneName) {
  EXPECT_EQ(name(Promise::exact), "exact");
  EXPECT_EQ(name(Promise::modelled), "modelled");
}

}  // namespace
}  // namespace vibee
