// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme quanto:TYPE on a tiny model, and what it writes loaded.
#include "vibee/app/jobs/quantize_quanto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/load.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeQuanto : public testing::Test {
 protected:
  QuantizeQuanto()
      : model_({.format = Format::f16,
                .vocab = 300,
                .dim = 64,
                .layers = 2,
                .heads = 2,
                .head_dim = 32,
                .ff = 576,
                .tokenizer = true}) {
    c_.source = model_.path(), c_.target = folder_.path() + "/quanto", c_.scheme = "quanto:qint4", c_.threads = 2;
  }
  std::string message() const {
    const auto done = quantize_quanto(c_, nullptr);
    return done.ok() ? "no error" : std::string(done.status().message());
  }
  TempFolder folder_;
  TinyModelFile model_;
  QuantizeConfig c_;
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
    LoadConfig config;
    config.model = c_.target;
    config.threads = 1;
    const auto loaded = load(config);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
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
  EXPECT_THAT(message(), HasSubstr("--scheme quanto takes --optimizer, --include and --exclude"));
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
