// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme exl2 on a tiny model, end to end: the directory is what the report says, and it runs.
#include "vibee/app/jobs/quantize_exl2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/load.h"
#include "vibee/app/jobs/quantize_scheme_fixture.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeExl2 : public SchemeTest<quantize_exl2> {
 protected:
  QuantizeExl2() : SchemeTest("exl2", 96, 160) {
    c_.calibration = letters();
    c_.budget = "5bpw";
    c_.probe_windows = 2;
    c_.measurement = folder_.path() + "/m.json";
  }
};

TEST_F(QuantizeExl2, WritesADirectoryWithinTheBudgetThatRuns) {
  auto done = quantize_exl2(c_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  const Exl2Allocation& a = done->report.allocation;
  // Keys and values have 48 outputs: they stay as they are, as the embedding does.
  EXPECT_EQ(a.options.size(), 10u);
  EXPECT_EQ(done->report.left, 5u);
  EXPECT_LE(double(a.bits), 5.0 * double(a.elements));
  EXPECT_GE(a.predicted, a.bound * (1 - 1e-12));
  EXPECT_TRUE(done->report.head);
  LoadConfig load_config;
  load_config.model = c_.target;
  load_config.context = 64;
  auto loaded = load(load_config);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->model->config().vocab, 300u);  // without the padding of its head

  // Another budget takes the measurement from the file.
  c_.target += "-more";
  c_.budget = "6bpw";
  bool measured = false;
  done = quantize_exl2(c_, [&](const WorkProgress& p) {
    measured = measured || p.what.find("matter") != p.what.npos;
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_FALSE(measured);
  EXPECT_GT(double(done->report.allocation.bits), 5.0 * double(done->report.allocation.elements));
}

TEST_F(QuantizeExl2, MistakesAreOneLineAndLeaveNothing) {
  c_.budget = "1.5bpw";
  EXPECT_THAT(message(), HasSubstr("--budget 1.5bpw: 1.500 bits a weight are below "));
  EXPECT_FALSE(std::filesystem::exists(c_.target));
  c_.context = 32;
  EXPECT_THAT(message(), HasSubstr("measured on another model, text or choice"));
  c_.head_bits = 7;
  EXPECT_THAT(message(), HasSubstr("7 bits of a head; 2, 3, 4, 5, 6 or 8"));
  c_.target = folder_.path();
  EXPECT_THAT(message(), HasSubstr("is there already"));
  c_.text = c_.calibration;
  EXPECT_THAT(message(), HasSubstr("vibee eval"));
  c_.solver = "gptq";
  EXPECT_THAT(
      message(),
      HasSubstr("--scheme exl2 takes --budget, --calib, --head-bits, --measurement and --probe-windows, not --solver"));
  c_.calibration.reset();
  EXPECT_THAT(message(), HasSubstr("needs --calib TEXT"));
  c_.budget.clear();
  EXPECT_THAT(message(), HasSubstr("needs --budget"));
}

}  // namespace
}  // namespace vibee
