// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme quanto:TYPE on a tiny model, and what it writes loaded.
#include "vibee/app/jobs/quantize_quanto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/quantize_scheme_fixture.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeQuanto : public SchemeTest<quantize_quanto> {
 protected:
  QuantizeQuanto() : SchemeTest("quanto:qint4", 64, 576) {}
};

TEST_F(QuantizeQuanto, DirectoriesLoadAndKeepWhatTheyShould) {
  for (const std::string& scheme : quanto_types()) {
    c_.scheme = scheme;
    c_.target = folder_.path() + "/" + scheme;
    c_.exclude = {"lm_head"};
    const auto done = quantize_quanto(c_, nullptr);
    ASSERT_TRUE(done.ok()) << done.status().message();
    EXPECT_EQ(done->report.matrices, 14u);
    EXPECT_EQ(done->report.left, 1u);
    expect_loads();
    const auto file = open_checkpoint(c_.target);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->find("output.weight")->format, Format::f16);
    EXPECT_FALSE(info(file->find("blk.0.ffn_down.weight")->format).in_gguf());
  }
}

TEST_F(QuantizeQuanto, SaysWhatDoesNotGoTogether) {
  c_.scheme = "quanto:qint3";
  EXPECT_THAT(message(), HasSubstr("one of qint2, qint4, qint8, qfloat8"));
  c_.scheme = "quanto:qint8";
  c_.optimizer = "hqq";
  EXPECT_THAT(message(), HasSubstr("searches shifts, which qint8 has not"));
  c_.optimizer = "max";
  c_.solver = "gptq";
  EXPECT_THAT(message(), HasSubstr("--scheme quanto:qint8 takes --optimizer, --include and --exclude, not --solver"));
  c_.solver = "search";
  c_.include = {"*.experts.*"};
  EXPECT_THAT(message(), HasSubstr("no linear is quantised"));
  EXPECT_FALSE(std::filesystem::exists(c_.target));
  c_.include = {};
  std::filesystem::create_directory(c_.target);
  EXPECT_THAT(message(), HasSubstr("is there already; name a new directory"));
}

}  // namespace
}  // namespace vibee
