// SPDX-License-Identifier: Apache-2.0
// Directories as `transformers` writes them (data/golden/hf, tools/make_hf_goldens.py), one an architecture: their
// logits and greedy tokens are those that it computes, and two of them are, tensor by tensor, the GGUF goldens of the
// same name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/kit/gguf_builder.h"
#include "vibee/kit/golden_directories.h"
#include "vibee/kit/golden_logits.h"
#include "vibee/model/session/session.h"
#include "vibee/model/weight/hf_names.h"

namespace vibee {
namespace {

using testing::HasSubstr;

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/";

class HfGolden : public testing::TestWithParam<std::string> {};

TEST_P(HfGolden, LogitsAndGreedyTokensAreThoseOfTransformers) {
  ModelOptions load;
  load.tokenizer = false;
  SessionOptions options;
  options.kv = KvFormat::f32;
  expect_golden_logits(kGoldens + "hf/" + GetParam(), load, options, 2e-4f);
}

INSTANTIATE_TEST_SUITE_P(All, HfGolden, testing::ValuesIn(golden_directories()));

class HfTwin : public testing::TestWithParam<std::string> {};

TEST_P(HfTwin, IsTheGgufGoldenByteForByte) {
  auto hf = open_checkpoint(kGoldens + "hf/" + GetParam());
  ASSERT_TRUE(hf.ok()) << hf.status().message();
  auto gguf = open_checkpoint(kGoldens + "model/" + GetParam() + ".gguf");
  ASSERT_TRUE(gguf.ok());
  ASSERT_EQ(hf->tensors().size(), gguf->tensors().size());
  for (const TensorInfo& t : gguf->tensors()) {
    const TensorInfo* other = hf->find(t.name);
    ASSERT_NE(other, nullptr) << t.name;
    ASSERT_EQ(other->shape, t.shape) << t.name;
    ASSERT_EQ(other->format, t.format) << t.name;
    std::vector<uint8_t> a(t.bytes), b(t.bytes);
    ASSERT_TRUE(gguf->read(t, 0, a).ok());
    ASSERT_TRUE(hf->read(*other, 0, b).ok());
    EXPECT_EQ(a, b) << t.name;
    // Any range of bytes is that range of the whole.
    for (const auto& [first, n] : {std::pair<uint64_t, uint64_t>{1, 1}, {t.bytes / 3, t.bytes / 2}, {t.bytes - 3, 3}}) {
      std::vector<uint8_t> part(n);
      ASSERT_TRUE(hf->read(*other, first, part).ok());
      EXPECT_TRUE(std::equal(part.begin(), part.end(), a.begin() + ptrdiff_t(first))) << t.name << " " << first;
    }
  }
  for (const auto& [key, value] : gguf->metadata())
    if (key != "general.description") {
      EXPECT_EQ(hf->describe(key), gguf->describe(key)) << key;
    }
}

INSTANTIATE_TEST_SUITE_P(All, HfTwin, testing::Values("llama-b", "gemma3-c"),
                         [](const auto& info) { return info.param.substr(0, info.param.find('-')); });

/// A copy of a golden directory whose files can be spoilt.
class HfMistakes : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "hf_mistakes";
    std::filesystem::remove_all(dir_);
    std::filesystem::copy(kGoldens + "hf/llama3", dir_);
    std::ifstream in(dir_ + "/config.json");
    config_ = nlohmann::json::parse(in);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string message(const nlohmann::json& config) {
    std::ofstream(dir_ + "/config.json") << config.dump();
    auto file = open_checkpoint(dir_);
    if (!file.ok()) return file.status().message();
    auto read = read_config(*file);
    return read.ok() ? "no error" : read.status().message();
  }
  std::string with(const std::string& key, const nlohmann::json& value) {
    nlohmann::json changed = config_;
    changed[key] = value;
    return message(changed);
  }
  std::string dir_;
  nlohmann::json config_;
};

TEST_F(HfMistakes, AreNamed) {
  EXPECT_EQ(message(config_), "no error");
  EXPECT_THAT(with("model_type", "lama"), HasSubstr("model_type \"lama\" is not built; llama, mistral, mixtral"));
  EXPECT_THAT(with("model_type", "lama"), HasSubstr("the nearest is \"llama\", whose tensors have the same names"));
  EXPECT_THAT(with("model_type", "gpt3"), HasSubstr("the nearest is \"phi3\", whose tensors"));
  EXPECT_THAT(with("model_type", 3), HasSubstr("\"model_type\" is 3"));
  EXPECT_THAT(with("hidden_act", "relu"), HasSubstr("key \"hidden_act\" is \"relu\"; built for"));
  EXPECT_THAT(with("hidden_size", "x"), HasSubstr("key \"hidden_size\" is \"x\", wanted an integer"));
  EXPECT_THAT(with("hidden_size", -1), HasSubstr("wanted an integer"));
  EXPECT_THAT(with("hidden_size", 1.5), HasSubstr("wanted an integer"));
  EXPECT_THAT(with("hidden_size", 1e18), HasSubstr("wanted an integer"));
  EXPECT_THAT(with("hidden_size", 36), HasSubstr("misshaped"));
  EXPECT_THAT(with("hidden_size", nullptr), HasSubstr("hidden size is 0"));
  EXPECT_THAT(with("num_attention_heads", 0), HasSubstr("number of heads 0"));
  EXPECT_THAT(with("num_attention_heads", 3), HasSubstr("which 3 heads do not share in pairs"));
  EXPECT_THAT(with("num_key_value_heads", 0), HasSubstr("head_count_kv"));
  EXPECT_THAT(with("num_hidden_layers", 3), HasSubstr("missing tensors: 'blk.2."));
  EXPECT_THAT(with("num_hidden_layers", 1), HasSubstr("not of this architecture"));
  EXPECT_THAT(with("head_dim", 1 << 20), HasSubstr("dimensions"));
  EXPECT_THAT(with("tie_word_embeddings", true), HasSubstr("no error"));
  EXPECT_THAT(with("rope_parameters", {{"rope_type", "dynamic"}}), HasSubstr("type \"dynamic\" is not built"));
  EXPECT_THAT(with("rope_parameters", {{"rope_type", "linear"}}), HasSubstr("key \"factor\" is missing"));
  EXPECT_THAT(with("rope_parameters", {{"rope_type", "linear"}, {"factor", -1}}), HasSubstr("\"factor\" is -1"));
  EXPECT_THAT(with("rope_parameters", {{"rope_type", "llama3"}, {"low_freq_factor", 4}}), HasSubstr("is not below"));
  EXPECT_THAT(with("rope_parameters", 7), HasSubstr("no error"));
  std::ofstream(dir_ + "/config.json") << "{";
  EXPECT_THAT(open_checkpoint(dir_).status().message(), HasSubstr("not JSON"));
  std::filesystem::remove(dir_ + "/config.json");
  EXPECT_THAT(open_checkpoint(dir_).status().message(), HasSubstr("config.json"));
}

/// By its tensors, whatever the names are like.
TEST(HfNearest, NamesTheNeighbourAndWhatItLacks) {
  const auto nearest = [](const std::vector<std::string>& names, bool gguf, std::string_view type) {
    return hf_nearest(hf_architectures(), names, gguf, type);
  };
  EXPECT_EQ(nearest({"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                     "model.layers.0.mlp.experts.1.up_proj.weight", "model.layers.0.linear_attn.A_log",
                     "model.layers.1.linear_attn.A_log"},
                    false, "qwen3_next"),
            "; the nearest is \"qwen3_moe\", where tensors of these kinds are missing: "
            "\"model.layers.{}.linear_attn.A_log\"");
  EXPECT_THAT(nearest({"embeddings.LayerNorm.weight", "encoder.layer.7.output.dense.bias"}, false, "roberta"),
              HasSubstr("the nearest is \"bert\", whose tensors have the same names"));
  EXPECT_EQ(nearest({"token_embd.weight", "blk.0.ssm_in.weight", "blk.0.attn_norm.weight", "blk.1.ssm_in.weight"}, true,
                    "mamba"),
            "; the nearest is \"llama\", where tensors of these kinds are missing: \"blk.{}.ssm_in.weight\"");
  std::vector<std::string> many;
  for (char c = 'a'; c < 'i'; ++c) many.push_back(std::string("blk.0.") + c);
  EXPECT_THAT(nearest(many, true, "x"), HasSubstr("\"blk.{}.e\" and 3 more"));

  const std::string path = testing::TempDir() + "nearest.gguf";
  GgufBuilder builder;
  const std::vector<uint8_t> bytes = builder.str("general.architecture", "mamba")
                                         .tensor("blk.0.ssm_in.weight", Format::f32, {4}, std::vector<uint8_t>(16))
                                         .build();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  auto file = open_checkpoint(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(read_config(*file).status().message(), HasSubstr("architecture \"mamba\" is not built; llama"));
  EXPECT_THAT(read_config(*file).status().message(), HasSubstr("are missing: \"blk.{}.ssm_in.weight\""));
  std::filesystem::remove(path);
}

TEST_F(HfMistakes, RopeBeforeTransformersFive) {
  nlohmann::json old = config_;
  const nlohmann::json parameters = old["rope_parameters"];
  old.erase("rope_parameters");
  old["rope_theta"] = parameters["rope_theta"];
  old["rope_scaling"] = {{"type", "llama3"},
                         {"factor", parameters["factor"]},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 32}};
  const auto table = [&] {
    auto file = open_checkpoint(dir_);
    std::vector<uint8_t> bytes(file->find("rope_freqs.weight")->bytes);
    EXPECT_TRUE(file->read(*file->find("rope_freqs.weight"), 0, bytes).ok());
    return bytes;
  };
  EXPECT_EQ(message(config_), "no error");
  const auto now = table();
  EXPECT_EQ(message(old), "no error");
  EXPECT_EQ(table(), now);
}

TEST_F(HfMistakes, SideFilesAreReadAndBounded) {
  EXPECT_EQ(message(config_), "no error");
  auto file = open_checkpoint(dir_);
  EXPECT_EQ(file->side_file("tokenizer.json").status().code(), Code::not_found);
  std::ofstream(dir_ + "/tokenizer.json") << "{}";
  auto text = file->side_file("tokenizer.json");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "{}");
  std::filesystem::resize_file(dir_ + "/tokenizer.json", uint64_t(1) << 30);
  EXPECT_THAT(file->side_file("tokenizer.json").status().message(), HasSubstr("at most"));
  EXPECT_THAT(read_tokenizer(*file).status().message(), HasSubstr("tokenizer.json"));
}

}  // namespace
}  // namespace vibee
