// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme atom on a tiny model, end to end: the directory is what the report says, and it runs.
#include "vibee/app/jobs/quantize_atom.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/load.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeAtom : public testing::Test {
 protected:
  QuantizeAtom()
      : model_({.format = Format::f16,
                .vocab = 300,
                .dim = 96,
                .layers = 2,
                .head_dim = 48,
                .ff = 160,
                .tokenizer = true}) {
    RandomStream random(5, Purpose::test);
    std::string text;
    for (int i = 0; i < 600; ++i) text += std::string(1, char('a' + random.below(26)));
    config_.source = model_.path();
    config_.target = folder_.path() + "/atom";
    config_.calibration = {"calib", std::move(text)};
    config_.context = 16;
    config_.threads = 2;
  }
  std::string message() const {
    const auto done = quantize_atom(config_, nullptr);
    return done.ok() ? "no error" : done.status().message();
  }
  TempFolder folder_;
  TinyModelFile model_;
  QuantizeConfig config_;
};

TEST_F(QuantizeAtom, WritesADirectoryThatRuns) {
  const auto done = quantize_atom(config_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_EQ(done->report.matrices, 14u);
  EXPECT_EQ(done->report.left, 2u);  // embedding and head
  // Groups of 32 with a half: 4.5 bits, and 4 more of a fifth to a third of the inputs; an order of 32 bits an input.
  EXPECT_GT(done->report.bits_per_weight(), 5.3);
  EXPECT_LT(done->report.bits_per_weight(), 6.5);
  LoadConfig load_config;
  load_config.model = config_.target;
  load_config.context = 64;
  auto loaded = load(load_config);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  auto file = open_checkpoint(config_.target);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->find("blk.1.ffn_up.weight")->format, Format::atom32);
  EXPECT_EQ(file->find("blk.1.ffn_up.perm")->shape[0], 96u);
  EXPECT_EQ(file->find("output.weight")->format, Format::f16);
}

TEST_F(QuantizeAtom, MistakesAreOneLineAndLeaveNothing) {
  config_.group = 128;
  EXPECT_THAT(message(), HasSubstr("has no linear with rows of groups of 128"));
  EXPECT_FALSE(std::filesystem::exists(config_.target));
  config_.group = 48;
  EXPECT_THAT(message(), HasSubstr("--group 48: of atom 32, 64 or 128"));
  config_.group = 0;
  config_.calibration->text = "too short";
  EXPECT_THAT(message(), HasSubstr("the calibration text has"));
  config_.target = folder_.path();
  EXPECT_THAT(message(), HasSubstr("is there already"));
  config_.budget = "4bpw";
  EXPECT_THAT(message(), HasSubstr("takes --calib and --group"));
  config_.calibration.reset();
  EXPECT_THAT(message(), HasSubstr("needs --calib TEXT"));
}

}  // namespace
}  // namespace vibee
