// SPDX-License-Identifier: Apache-2.0
// Adapters as PEFT writes them (data/golden/lora, tools/make_lora_goldens.py) over the models of data/golden/hf: their
// logits and greedy tokens are those that PEFT computes, rows without an adapter have the bytes of a model without
// room for adapters, and rows with one those of their solo run, whatever else is in the step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/kit/golden_logits.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_adapter.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

using testing::HasSubstr;

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/";

struct Opened {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
  std::shared_ptr<const LoraAdapter> adapter;
};

ModelOptions options_with(uint32_t loras, uint32_t threads = 1, std::vector<std::string> disable = {}) {
  ModelOptions o;
  o.tokenizer = false;
  o.lora.adapters = loras;
  o.threads = threads;
  o.disable = std::move(disable);
  return o;
}

Opened open(const std::string& model, const ModelOptions& options, const std::string& adapter = {}) {
  Opened out;
  auto loaded = Model::load(model, options);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  out.model = std::move(*loaded);
  SessionOptions s;
  s.context = s.max_rows = s.max_logits = 64;
  s.sequences = 8;
  s.kv = KvFormat::f32;
  auto session = Session::create(*out.model, s);
  EXPECT_TRUE(session.ok()) << session.status().message();
  out.session = std::move(*session);
  if (adapter.empty()) return out;
  auto lora = out.model->loras()->load(adapter);
  EXPECT_TRUE(lora.ok()) << lora.status().message();
  if (lora.ok()) out.adapter = *lora;
  return out;
}

class LoraGolden : public testing::TestWithParam<std::string> {};

TEST_P(LoraGolden, LogitsAndGreedyTokensAreThoseOfPeft) {
  const std::string directory = kGoldens + "lora/" + GetParam();
  const GoldenLogits golden(directory);
  for (const std::vector<std::string>& disable : {std::vector<std::string>{}, {"merge_lora"}}) {
    Opened o = open(kGoldens + "hf/" + GetParam(), options_with(1, 2, disable), directory);
    ASSERT_TRUE(o.adapter);
    golden.expect(*o.session, 2e-4f, true, o.adapter.get());
  }
}

INSTANTIATE_TEST_SUITE_P(All, LoraGolden, testing::Values("llama3", "qwen2", "gemma3-c", "phi3", "gpt2"),
                         [](const auto& info) { return info.param.substr(0, info.param.find('-')); });

class LoraBatch : public testing::Test {
 protected:
  TempFolder dir;
  std::string model(Format format) {
    m_.format = format;
    std::string path = dir.path() + "/m.gguf";
    TinyModelWriter writer(m_);
    const std::vector<uint8_t> bytes = writer.build();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    return path;
  }
  TinyModel m_;
};

using Logits = std::vector<std::vector<float>>;  ///< by sequence

/// Prompts in chunks, then some tokens one at a time, several sequences in each step.
Logits run(Session& session, const std::vector<const LoraAdapter*>& adapters, const std::vector<uint32_t>& lengths) {
  std::vector<SequenceState> states;
  Logits out(adapters.size());
  for (size_t i = 0; i < adapters.size(); ++i) states.push_back(session.new_sequence());
  for (uint32_t round = 0; round < 4; ++round) {
    std::vector<std::vector<int32_t>> tokens(adapters.size());
    std::vector<StepRows> rows;
    for (size_t i = 0; i < adapters.size(); ++i) {
      for (uint32_t t = 0; t < (round ? 1 : lengths[i]); ++t)
        tokens[i].push_back(int32_t((7 * lengths[i] + 5 * t + round) % 48));
      rows.push_back({&states[i], tokens[i], 1, {}, adapters[i]});
    }
    auto logits = session.step(rows);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    for (size_t i = 0; i < adapters.size(); ++i)
      out[i].insert(out[i].end(), logits->begin() + ptrdiff_t(48 * i), logits->begin() + ptrdiff_t(48 * (i + 1)));
  }
  return out;
}

TEST_F(LoraBatch, RowsKeepTheBytesOfTheirSoloRun) {
  for (Format format : {Format::f32, Format::q8_0}) {
    const std::string path = model(format);
    for (uint32_t threads : {1u, 3u}) {
      Opened plain = open(path, options_with(0, threads));
      Opened with = open(path, options_with(2, threads), write_adapter(dir.path() + "/one.gguf", m_, 3, 1));
      auto two = with.model->loras()->load(write_adapter(dir.path() + "/two.gguf", m_, 16, 2));
      ASSERT_TRUE(with.adapter && two.ok()) << two.status().message();
      const LoraAdapter *a = with.adapter.get(), *b = two->get();
      EXPECT_NE(a->space(), b->space());
      const std::vector<uint32_t> lengths = {9, 1, 4, 17, 9};
      const Logits all = run(*with.session, {nullptr, a, b, a, b}, lengths);
      const std::vector<const LoraAdapter*> who = {nullptr, a, b, a, b};
      for (size_t i = 0; i < who.size(); ++i) EXPECT_EQ(run(*with.session, {who[i]}, {lengths[i]})[0], all[i]) << i;
      EXPECT_EQ(run(*plain.session, {nullptr}, {9})[0], all[0]);
      EXPECT_NE(all[4], all[0]);
      // Without the merged call, and with other passes off, the same bytes.
      for (const std::string off : {"merge_lora", "quantize_activations", "merge_residual"}) {
        if (off == "quantize_activations" && format != Format::f32) continue;  // that one is exact for its format alone
        Opened other = open(path, options_with(1, threads, {off}), dir.path() + "/two.gguf");
        ASSERT_TRUE(other.adapter);
        EXPECT_EQ(run(*other.session, {other.adapter.get()}, {4})[0], all[2]) << off;
      }
    }
  }
}

TEST_F(LoraBatch, PlacesAreTakenOnceAndComeBack) {
  const std::string path = model(Format::f32);
  Opened o = open(path, options_with(1), write_adapter(dir.path() + "/one.gguf", m_, 3, 1));
  ASSERT_TRUE(o.adapter);
  const std::string digest = o.adapter->digest();
  auto full = o.model->loras()->load(dir.path() + "/one.gguf");
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.status().code(), Code::no_memory);
  EXPECT_THAT(full.status().message(), HasSubstr("--max-loras"));
  o.adapter.reset();
  auto again = o.model->loras()->load(dir.path() + "/one.gguf");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->digest(), digest);
  again->reset();
  auto half = o.model->loras()->load(dir.path() + "/one.gguf", 0.5f);
  ASSERT_TRUE(half.ok());
  EXPECT_NE((*half)->digest(), digest);
}

TEST_F(LoraBatch, AdaptersOfAnotherModelAreRefused) {
  const std::string path = model(Format::f32), adapter = write_adapter(dir.path() + "/one.gguf", m_, 3, 1);
  Opened a = open(path, options_with(1), adapter), b = open(path, options_with(1), adapter),
         none = open(path, options_with(0));
  for (Opened* other : {&b, &none}) {
    SequenceState state = other->session->new_sequence();
    const std::vector<int32_t> tokens = {1, 2};
    const StepRows rows{&state, tokens, 1, {}, a.adapter.get()};
    EXPECT_EQ(other->session->step({&rows, 1}).status().code(), Code::invalid);
  }
}

TEST_F(LoraBatch, ThePlanCountsTheirMemory) {
  auto file = open_checkpoint(model(Format::f32));
  ASSERT_TRUE(file.ok());
  auto config = read_config(*file);
  ASSERT_TRUE(config.ok());
  const auto plan = Session::plan_memory(*file, *config, options_with(4), {});
  ASSERT_TRUE(plan.ok());
  // q, k, v, output, gate, up and down of two layers: A and B for rank 16.
  const uint64_t sizes = 2 * (3 * m_.dim + 32 + 2 * 16 + (32 + m_.dim) + 3 * (m_.dim + m_.ff));
  EXPECT_EQ(plan->adapters, 4 * 16 * 4 * sizes);
  EXPECT_EQ(Session::plan_memory(*file, *config, options_with(0), {})->adapters, 0u);
  EXPECT_EQ(Session::plan_memory(*file, *config, options_with(1025), {}).status().code(), Code::invalid);
}

/// A copy of a golden adapter whose files can be spoilt.
class LoraMistakes : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy(kGoldens + "lora/llama3", dir.path() + "/a", std::filesystem::copy_options::recursive);
    std::ifstream in(dir.path() + "/a/adapter_config.json");
    config_ = nlohmann::json::parse(in);
    model_ = open(kGoldens + "hf/llama3", options_with(1)).model;
  }
  std::string message_with(const std::string& key, nlohmann::json value) {
    nlohmann::json c = config_;
    c[key] = std::move(value);
    std::ofstream(dir.path() + "/a/adapter_config.json") << c.dump();
    return message();
  }
  std::string message() {
    auto adapter = model_->loras()->load(dir.path() + "/a");
    EXPECT_EQ(adapter.status().message().find('\n'), std::string::npos);
    return adapter.status().message();
  }
  TempFolder dir;
  nlohmann::json config_;
  std::unique_ptr<Model> model_;
};

TEST_F(LoraMistakes, KeysThatAreNotBuiltAreNamed) {
  EXPECT_EQ(message_with("lora_dropout", 0.1), "");
  EXPECT_THAT(message_with("use_dora", true), HasSubstr("use_dora"));
  EXPECT_THAT(message_with("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save"));
  EXPECT_THAT(message_with("bias", "all"), HasSubstr("bias"));
  EXPECT_THAT(message_with("peft_type", "IA3"), HasSubstr("IA3"));
  EXPECT_THAT(message_with("init_lora_weights", "pissa_niter_4"), HasSubstr("pissa_niter_4"));
  EXPECT_THAT(message_with("rank_pattern", {{"^model.*", 4}}), HasSubstr("regular expressions"));
  EXPECT_THAT(message_with("r", 5), HasSubstr("rank 5"));
  EXPECT_THAT(message_with("r", "5"), HasSubstr("needs the number r"));
  EXPECT_THAT(message_with("target_modules", {"q_proj", "gone_proj"}), HasSubstr("gone_proj"));
  EXPECT_THAT(message_with("lora_alpha", 1e300), HasSubstr("scale"));
}

TEST_F(LoraMistakes, FilesThatDoNotFitAreRefused) {
  std::filesystem::copy_file(kGoldens + "lora/qwen2/adapter_model.safetensors",
                             dir.path() + "/a/adapter_model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(message(), "");
  std::filesystem::copy_file(kGoldens + "lora/gpt2/adapter_model.safetensors",
                             dir.path() + "/a/adapter_model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(message(), HasSubstr("is not a module that adapters can change"));
  std::ofstream(dir.path() + "/a/adapter_model.safetensors") << "short";
  EXPECT_NE(message(), "");
  std::filesystem::remove(dir.path() + "/a/adapter_model.safetensors");
  EXPECT_THAT(message(), HasSubstr("adapter_model.safetensors"));
  std::ofstream(dir.path() + "/a/adapter_config.json") << "[1, 2";
  EXPECT_NE(message(), "");
  EXPECT_THAT(model_->loras()->load(kGoldens + "model/llama-b.gguf").status().message(), HasSubstr("not adapter"));
}

TEST_F(LoraMistakes, ALargerRankThanThereIsRoomForIsRefused) {
  ModelOptions o = options_with(1);
  o.lora.rank = 2;
  auto model = Model::load(kGoldens + "hf/llama3", o);
  ASSERT_TRUE(model.ok());
  EXPECT_THAT((*model)->loras()->load(dir.path() + "/a").status().message(), HasSubstr("--max-lora-rank"));
}

}  // namespace
}  // namespace vibee
