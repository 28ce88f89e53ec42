// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme gptq, awq, ... on a tiny model, and what it writes loaded.
#include "vibee/app/jobs/quantize_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/quantize_scheme_fixture.h"

namespace vibee {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class QuantizeGroups : public SchemeTest<quantize_groups> {
 protected:
  QuantizeGroups() : SchemeTest("gptq", 64, 192) {}
};

TEST_F(QuantizeGroups, DirectoriesLoad) {
  for (const std::string& scheme : group_schemes()) {
    c_.scheme = scheme;
    c_.target = folder_.path() + "/" + scheme;
    c_.exclude = {"*.1.mlp.down_proj"};
    c_.context = 16;
    c_.calibration.reset();
    if (!scheme.starts_with("bitsandbytes")) c_.calibration = letters();
    const auto done = quantize_groups(c_, nullptr);
    ASSERT_TRUE(done.ok()) << done.status().message();
    EXPECT_EQ(done->report.matrices, 13u);
    EXPECT_EQ(done->report.left, 1u);
    EXPECT_TRUE(done->warnings.empty());
    expect_loads();
  }
  // What is there already is not solved again.
  c_.scheme = "awq";
  c_.source = folder_.path() + "/gptq";
  c_.target = folder_.path() + "/awq-of-gptq";
  c_.calibration = letters();
  const auto done = quantize_groups(c_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_TRUE(done->report.taken);
  EXPECT_THAT(done->warnings, ElementsAre(HasSubstr("codes are the source's")));
}

TEST_F(QuantizeGroups, SaysWhatDoesNotGoTogether) {
  c_.scheme = "gptq2";
  EXPECT_THAT(message(), HasSubstr("gptq, awq, compressed-tensors, bitsandbytes:nf4, bitsandbytes:fp4 are"));
  c_.scheme = "gptq";
  c_.group = 48;
  EXPECT_THAT(message(), HasSubstr("--group 48: 32, 64, 128, or -1 for a row"));
  c_.group = 0;
  c_.solver = "gptq";
  EXPECT_THAT(message(), HasSubstr("--solver gptq: needs --calib TEXT"));
  c_.calibration = {"calib", "text"};
  c_.scheme = "bitsandbytes:nf4";
  EXPECT_THAT(message(), HasSubstr("takes --group, --include and --exclude, not --solver"));
  c_.budget = "4bpw";
  EXPECT_THAT(message(), HasSubstr("not --budget"));
  c_.budget.clear();
  c_.calibration.reset();
  c_.solver = "search";
  std::filesystem::create_directory(c_.target);
  EXPECT_THAT(message(), HasSubstr("is there already; name a new directory"));
}

}  // namespace
}  // namespace vibee
