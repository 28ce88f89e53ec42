// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme exl2 on a tiny model, end to end: the directory is what the report says, and it runs.
#include "vibee/app/jobs/quantize_exl2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/load.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeExl2 : public testing::Test {
 protected:
  QuantizeExl2()
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
    config_.target = folder_.path() + "/exl2";
    config_.budget = "5bpw";
    config_.calibration = {"calib", std::move(text)};
    config_.context = 16;
    config_.probe_windows = 2;
    config_.threads = 2;
    config_.measurement = folder_.path() + "/m.json";
  }
  std::string message() const {
    const auto done = quantize_exl2(config_, nullptr);
    return done.ok() ? "no error" : done.status().message();
  }
  TempFolder folder_;
  TinyModelFile model_;
  QuantizeConfig config_;
};

TEST_F(QuantizeExl2, WritesADirectoryWithinTheBudgetThatRuns) {
  auto done = quantize_exl2(config_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  const Exl2Allocation& a = done->allocation;
  // Keys and values have 48 outputs: they stay as they are, as the embedding does.
  EXPECT_EQ(a.options.size(), 10u);
  EXPECT_EQ(done->left, 5u);
  EXPECT_LE(double(a.bits), 5.0 * double(a.elements));
  EXPECT_GE(a.predicted, a.bound * (1 - 1e-12));
  EXPECT_TRUE(done->head);
  LoadConfig load_config;
  load_config.model = config_.target;
  load_config.context = 64;
  auto loaded = load(load_config);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->model->config().vocab, 300u);  // without the padding of its head

  // Another budget takes the measurement from the file.
  config_.target += "-more";
  config_.budget = "6bpw";
  bool measured = false;
  done = quantize_exl2(config_, [&](const WorkProgress& p) {
    measured = measured || p.what.find("matter") != p.what.npos;
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_FALSE(measured);
  EXPECT_GT(double(done->allocation.bits), 5.0 * double(done->allocation.elements));
}

TEST_F(QuantizeExl2, MistakesAreOneLineAndLeaveNothing) {
  config_.budget = "1.5bpw";
  EXPECT_THAT(message(), HasSubstr("--budget 1.5bpw: 1.500 bits a weight are below "));
  EXPECT_FALSE(std::filesystem::exists(config_.target));
  config_.context = 32;
  EXPECT_THAT(message(), HasSubstr("measured on another model, text or choice"));
  config_.head_bits = 7;
  EXPECT_THAT(message(), HasSubstr("7 bits of a head; 2, 3, 4, 5, 6 or 8"));
  config_.target = folder_.path();
  EXPECT_THAT(message(), HasSubstr("is there already"));
  config_.text = config_.calibration;
  EXPECT_THAT(message(), HasSubstr("vibee eval"));
  config_.solver = "gptq";
  EXPECT_THAT(message(), HasSubstr("--solver are of GGUF files"));
  config_.calibration.reset();
  EXPECT_THAT(message(), HasSubstr("needs --calib TEXT"));
  config_.budget.clear();
  EXPECT_THAT(message(), HasSubstr("needs --budget"));
}

}  // namespace
}  // namespace vibee
