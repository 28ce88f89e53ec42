// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme atom on a tiny model, end to end: the directory is what the report says, and it runs.
#include "vibee/app/jobs/quantize_atom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/quantize_scheme_fixture.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeAtom : public SchemeTest<quantize_atom> {
 protected:
  QuantizeAtom() : SchemeTest("atom", 96, 160) { c_.calibration = letters(); }
};

TEST_F(QuantizeAtom, WritesADirectoryThatRuns) {
  const auto done = quantize_atom(c_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_EQ(done->report.matrices, 14u);
  EXPECT_EQ(done->report.left, 2u);  // embedding and head
  // Groups of 32 with a half: 4.5 bits, and 4 more of a fifth to a third of the inputs; an order of 32 bits an input.
  EXPECT_GT(done->report.bits_per_weight(), 5.3);
  EXPECT_LT(done->report.bits_per_weight(), 6.5);
  expect_loads();
  auto file = open_checkpoint(c_.target);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->find("blk.1.ffn_up.weight")->format, Format::atom32);
  EXPECT_EQ(file->find("blk.1.ffn_up.perm")->shape[0], 96u);
  EXPECT_EQ(file->find("output.weight")->format, Format::f16);
}

TEST_F(QuantizeAtom, MistakesAreOneLineAndLeaveNothing) {
  c_.group = 128;
  EXPECT_THAT(message(), HasSubstr("has no linear with rows of groups of 128"));
  EXPECT_FALSE(std::filesystem::exists(c_.target));
  c_.group = 48;
  EXPECT_THAT(message(), HasSubstr("--group 48: of atom 32, 64 or 128"));
  c_.group = 0;
  c_.calibration->text = "too short";
  EXPECT_THAT(message(), HasSubstr("the calibration text has"));
  c_.target = folder_.path();
  EXPECT_THAT(message(), HasSubstr("is there already"));
  c_.budget = "4bpw";
  EXPECT_THAT(message(), HasSubstr("takes --calib and --group"));
  c_.calibration.reset();
  EXPECT_THAT(message(), HasSubstr("needs --calib TEXT"));
}

}  // namespace
}  // namespace vibee
