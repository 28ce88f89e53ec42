// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/sampling_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "vibee/kit/gguf_builder.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class Generation : public testing::Test {
 protected:
  Generation() : dir_(std::filesystem::temp_directory_path() / fmt::format("vibee-generation-{}", ::getpid())) {
    std::filesystem::create_directories(dir_);
  }
  ~Generation() override { std::filesystem::remove_all(dir_); }
  /// A checkpoint with the metadata of a generation_config.json.
  Result<Checkpoint> read(const std::string& json) {
    std::ofstream(dir_ / "generation_config.json") << json;
    CheckpointParts parts;
    parts.path = "somewhere";
    VIBEE_TRY(read_hf_generation(dir_.string(), &parts.metadata));
    return Checkpoint::assemble(std::move(parts));
  }
  std::string described(const std::string& json) {
    auto file = read(json);
    if (!file.ok()) return file.status().message();
    auto defaults = read_sampling_defaults(*file);
    return defaults.ok() ? defaults->describe() : defaults.status().message();
  }
  Result<Checkpoint> gguf(GgufBuilder builder) {
    const std::string path = (dir_ / "a.gguf").string();
    const std::vector<uint8_t> bytes = builder.build();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    return open_gguf(path);
  }
  std::filesystem::path dir_;
};

TEST_F(Generation, FieldsOfADirectory) {
  EXPECT_EQ(described("{}"), "");
  EXPECT_EQ(described(R"({"bos_token_id": 1, "eos_token_id": 2, "transformers_version": "5"})"), "");
  EXPECT_EQ(described(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0})"),
            "temperature 0.6, top_k 20, top_p 0.9, min_p 0");
  EXPECT_EQ(described(R"({"do_sample": true, "repetition_penalty": 1.1, "typical_p": 0.5})"),
            "temperature 1, typical_p 0.5, repetition_penalty 1.1");
  EXPECT_EQ(described(R"({"do_sample": false, "temperature": 0.6, "top_p": 0.9})"), "temperature 0, top_p 0.9");
  EXPECT_EQ(described(R"({"temperature": null, "top_k": null})"), "");
  std::filesystem::remove(dir_ / "generation_config.json");
  GgufMetadata metadata;
  EXPECT_TRUE(read_hf_generation(dir_.string(), &metadata).ok());
  EXPECT_TRUE(metadata.empty());
}

TEST_F(Generation, EveryEndIsKept) {
  for (const auto& [json, wanted] :
       {std::pair<std::string, std::vector<int32_t>>{R"({"eos_token_id": [7, 9]})", {7, 9}},
        {R"({"eos_token_id": 5})", {5}},
        {R"({"eos_token_id": []})", {}}}) {
    auto file = read(json);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(*file->get_ints("vibee.eos_token_ids"), wanted);
  }
}

TEST_F(Generation, BadValuesNameFileAndField) {
  const auto said = [&](const std::string& json) {
    const std::string message = described(json);
    EXPECT_THAT(message, HasSubstr("generation_config.json\": "));
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  };
  EXPECT_THAT(said("["), HasSubstr("not JSON"));
  EXPECT_THAT(said("[]"), HasSubstr("is no object"));
  EXPECT_THAT(said(R"({"temperature": -1})"), HasSubstr("key \"temperature\" is -1, wanted a number from 0 to 100"));
  EXPECT_THAT(said(R"({"temperature": "hot"})"), HasSubstr("key \"temperature\" is \"hot\""));
  EXPECT_THAT(said(R"({"top_p": 0})"), HasSubstr("key \"top_p\" is 0"));
  EXPECT_THAT(said(R"({"top_k": 2.5})"), HasSubstr("key \"top_k\" is 2.5, wanted a whole number"));
  EXPECT_THAT(said(R"({"top_k": 1e30})"), HasSubstr("key \"top_k\""));
  EXPECT_THAT(said(R"({"repetition_penalty": 0})"), HasSubstr("key \"repetition_penalty\" is 0"));
  EXPECT_THAT(said(R"({"do_sample": "yes"})"), HasSubstr("key \"do_sample\" is \"yes\", wanted true or false"));
  EXPECT_THAT(said(R"({"eos_token_id": -1})"), HasSubstr("key \"eos_token_id\" is -1, wanted an id"));
  EXPECT_THAT(said(R"({"eos_token_id": [1, "a"]})"), HasSubstr("key \"eos_token_id\""));
  EXPECT_THAT(said(R"({"eos_token_id": 1.5})"), HasSubstr("key \"eos_token_id\""));
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ", 1";
  EXPECT_THAT(said(R"({"eos_token_id": )" + many + "]}"), HasSubstr("at most 64"));
}

TEST_F(Generation, KeysOfGguf) {
  GgufBuilder keys;
  keys.f32("general.sampling.temp", 0.6f).u32("general.sampling.top_k", 40).f32("general.sampling.top_p", 0.95f);
  keys.f32("general.sampling.penalty_repeat", 1.1f).u32("general.sampling.penalty_last_n", 64);
  keys.u32("general.sampling.mirostat", 2);
  auto file = gguf(std::move(keys));
  ASSERT_TRUE(file.ok()) << file.status().message();
  auto defaults = read_sampling_defaults(*file);
  ASSERT_TRUE(defaults.ok()) << defaults.status().message();
  EXPECT_EQ(defaults->describe(), "temperature 0.6, top_k 40, top_p 0.95, repetition_penalty 1.1, penalty_window 64");
  EXPECT_THAT(defaults->ignored, testing::ElementsAre("general.sampling.mirostat"));

  // Written as JSON and read again: the same.
  auto json = write_hf_generation(*file);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(described(*json), "temperature 0.6, top_k 40, top_p 0.95, repetition_penalty 1.1");

  GgufBuilder bad;
  bad.f32("general.sampling.top_p", 1.5f);
  file = gguf(std::move(bad));
  EXPECT_THAT(read_sampling_defaults(*file).status().message(),
              HasSubstr("key \"general.sampling.top_p\" is 1.5, wanted a number from 1e-06 to 1"));
  GgufBuilder wrong;
  wrong.str("general.sampling.temp", "warm");
  file = gguf(std::move(wrong));
  EXPECT_THAT(read_sampling_defaults(*file).status().message(), HasSubstr("general.sampling.temp"));
}

}  // namespace
}  // namespace vibee
