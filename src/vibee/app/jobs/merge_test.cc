// SPDX-License-Identifier: Apache-2.0
// Adapters of PEFT (data/golden/lora) merged by `vibee convert --lora`: the merged model gives the logits of base and
// adapter, in other formats near them, and what is refused.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/app/jobs/convert.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

const std::string kGoldens = VIBEE_SOURCE_DIR "/data/golden/";

std::vector<float> logits_of(const std::string& path, const std::string& adapter, float by = 1) {
  ModelOptions options;
  options.tokenizer = false;
  options.lora.adapters = adapter.empty() ? 0 : 1;
  auto model = Model::load(path, options);
  VIBEE_CHECK(model.ok(), "{}", model.status().message());
  SessionOptions s;
  s.context = s.max_rows = s.max_logits = 16;
  s.kv = KvFormat::f32;
  auto session = Session::create(**model, s);
  VIBEE_CHECK(session.ok(), "{}", session.status().message());
  std::shared_ptr<const LoraAdapter> lora;
  if (!adapter.empty()) {
    auto loaded = (*model)->loras()->load(adapter, by);
    VIBEE_CHECK(loaded.ok(), "{}", loaded.status().message());
    lora = *loaded;
  }
  SequenceState state = (*session)->new_sequence();
  const std::vector<int32_t> tokens = {3, 14, 15, 9, 26, 5, 35, 8};
  const StepRows rows{&state, tokens, 8, {}, lora.get()};
  auto logits = (*session)->step({&rows, 1});
  VIBEE_CHECK(logits.ok(), "{}", logits.status().message());
  return {logits->begin(), logits->end()};
}
float farthest(const std::vector<float>& a, const std::vector<float>& b) {
  float far = 0;
  for (size_t i = 0; i < a.size(); ++i) far = std::max(far, std::abs(a[i] - b[i]));
  return far;
}
Result<ConvertReport> merge(const std::string& model, const std::string& to, const std::string& format,
                            const std::vector<std::string>& loras) {
  ConvertConfig c;
  c.source = kGoldens + "hf/" + model, c.target = to, c.format = format, c.loras = loras;
  return convert(c, nullptr);
}

class Merge : public testing::TestWithParam<std::string> {};

TEST_P(Merge, GivesTheLogitsOfBaseAndAdapter) {
  const TempFolder folder;
  const std::string base = kGoldens + "hf/" + GetParam(), adapter = kGoldens + "lora/" + GetParam();
  const std::vector<float> plain = logits_of(base, ""), want = logits_of(base, adapter),
                           half = logits_of(base, adapter, 0.5f);
  ASSERT_GT(farthest(plain, want), 0.05f);
  const auto merged = [&](const std::string& format, const std::vector<std::string>& loras) {
    const std::string path = folder.path() + "/" + format + ".gguf";
    const auto report = merge(GetParam(), path, format, loras);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? logits_of(path, "") : plain;
  };
  EXPECT_LT(farthest(merged("f32", {adapter}), want), 2e-4f);
  EXPECT_LT(farthest(merged("f32", {adapter + ":0.5"}), half), 2e-4f);
  EXPECT_LT(farthest(merged("f32", {adapter + ":0.25", adapter + ":0.75"}), want), 2e-4f);
  EXPECT_LT(farthest(merged("f32", {adapter, adapter + ":-1"}), plain), 2e-4f);
  EXPECT_LT(farthest(merged("f16", {adapter}), want), farthest(plain, want) / 4);
}

INSTANTIATE_TEST_SUITE_P(All, Merge, testing::Values("llama3", "qwen2", "phi3", "gpt2"));

TEST(MergeRefuses, WhatDoesNotFit) {
  const TempFolder folder;
  const auto refused = [&](const std::vector<std::string>& loras) {
    const std::string path = folder.path() + "/x.gguf";
    const Status status = merge("llama3", path, "f32", loras).take_status();
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    return status.message();
  };
  EXPECT_NE(refused({kGoldens + "lora/gpt2"}).find("is not a module that adapters can change in"), std::string::npos)
      << refused({kGoldens + "lora/gpt2"});
  EXPECT_NE(refused({kGoldens + "lora/gemma3-c"}).find("the model's matrix is"), std::string::npos)
      << refused({kGoldens + "lora/gemma3-c"});
  EXPECT_NE(refused({kGoldens + "lora/llama3:inf"}).find("the scale is no number"), std::string::npos);
  EXPECT_NE(refused({kGoldens + "lora/llama3:3e38"}).find("it makes no finite numbers of tensor"), std::string::npos)
      << refused({kGoldens + "lora/llama3:3e38"});
  EXPECT_NE(refused({folder.path() + "/nothing"}).find("nothing"), std::string::npos);
}

}  // namespace
}  // namespace vibee
