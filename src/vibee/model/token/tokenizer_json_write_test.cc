// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/tokenizer_json_write.h"

#include <gtest/gtest.h>

#include <map>

#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/gguf_spec.h"
#include "vibee/model/token/golden_spec.h"
#include "vibee/model/token/spm_merges.h"
#include "vibee/model/token/tokenizer_json.h"

namespace vibee {
namespace {

/// Files as a spec, the way a directory is read.
Result<TokenizerSpec> read_back(const std::vector<TokenizerFile>& files) {
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_json(files[0].text, files[0].name));
  VIBEE_TRY(read_tokenizer_config(files[1].text, files[1].name, &spec));
  for (const TokenizerFile& file : files)
    if (file.name == "chat_template.jinja") spec.chat_template = file.text;
  return spec;
}

void expect_same(const std::string& name, const TokenizerSpec& a, const TokenizerSpec& b,
                 const std::vector<std::string>& lines) {
  const auto one = make_tokenizer(a), two = make_tokenizer(b);
  ASSERT_TRUE(one.ok()) << name << ": " << one.status().message();
  ASSERT_TRUE(two.ok()) << name << ": " << two.status().message();
  size_t bad = 0;
  for (const std::string& line : lines) {
    std::vector<int32_t> x, y;
    ASSERT_TRUE((*one)->encode(line, true, &x).ok());
    ASSERT_TRUE((*two)->encode(line, true, &y).ok());
    if (x != y && ++bad <= 3) EXPECT_EQ(x, y) << name << ": " << line;
    if ((*one)->wrap(x) != (*two)->wrap(y)) EXPECT_EQ((*one)->wrap(x), (*two)->wrap(y)) << name;
    EXPECT_EQ(decode(**one, x), decode(**two, y)) << name;
  }
  EXPECT_EQ(bad, 0u) << name;
}

TEST(TokenizerJsonWrite, ReadBackGivesTheSameIds) {
  const auto golden = read_golden("token/pipelines.json");
  const auto lines = golden.at("lines").get<std::vector<std::string>>();
  for (const auto& [name, row] : golden.at("tokenizers").items()) {
    auto spec = read_tokenizer_json(row.at("json").get<std::string>(), name);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    auto files = write_tokenizer_files(*spec);
    ASSERT_TRUE(files.ok()) << name << ": " << files.status().message();
    auto again = read_back(*files);
    ASSERT_TRUE(again.ok()) << name << ": " << again.status().message();
    expect_same(name, *spec, *again, {lines.begin(), lines.begin() + 1000});
    EXPECT_EQ(write_tokenizer_files(*again)->at(0).text, files->at(0).text) << name;
  }
}

TEST(GgufSpec, SaysWhatGgufCanSayAndNamesWhatItCannot) {
  const std::map<std::string, std::string> expected = {
      {"gpt2", "gpt2 gpt-2"},
      {"llama3", "gpt2 llama-bpe"},
      {"qwen2", "gpt2 qwen2"},
      {"deepseek", "gpt2 deepseek-v3"},
      {"bert_uncased", "bert "},
      {"t5", "t5 "},
      {"roberta", "ByteLevel"},
      {"digits", "Punctuation"},
      {"whitespace_split", "WhitespaceSplit"},
      {"llama2", "no plain token"},  // trained as BPE, not as SentencePiece does
      {"gemma", "no plain token"},
      {"metaspace_first", "no plain token"},
      {"unigram", "NFKC"},
      {"unigram_fallback", "normalizer"},
      {"bert_cased", "BertNormalizer"},
      {"wordpiece_plain", "Whitespace"},
  };
  const auto golden = read_golden("token/pipelines.json");
  const auto lines = golden.at("lines").get<std::vector<std::string>>();
  for (const auto& [name, row] : golden.at("tokenizers").items()) {
    ASSERT_TRUE(expected.contains(name)) << name;
    auto spec = read_tokenizer_json(row.at("json").get<std::string>(), name);
    ASSERT_TRUE(spec.ok());
    spec->chat_template = "{{ messages }}";
    auto said = gguf_tokenizer(*spec, spec->tokens.size() + 3);
    if (!said.ok()) {
      EXPECT_EQ(said.status().code(), Code::unsupported);
      EXPECT_NE(said.status().message().find(expected.at(name)), std::string::npos)
          << name << ": " << said.status().message();
      continue;
    }
    EXPECT_EQ(said->spec.model + " " + said->spec.pre, expected.at(name));
    EXPECT_EQ(said->spec.chat_template, spec->chat_template);
    EXPECT_EQ(said->spec.tokens.size(), spec->tokens.size() + 3);
    EXPECT_EQ(said->spec.tokens.back(), "[PAD" + std::to_string(spec->tokens.size() + 2) + "]");
    TokenizerSpec before = *spec;
    if (name == "qwen2") {
      ASSERT_EQ(said->warnings.size(), 2u) << said->warnings[0];
      EXPECT_NE(said->warnings[0].find("NFC"), std::string::npos);
      before.normalizers.clear();
    }
    std::vector<std::string> said_lines = lines;
    if (name == "bert_uncased" || name == "t5") {  // warned of
      EXPECT_GE(said->warnings.size(), 1u);
      std::erase_if(said_lines, [](const std::string& line) {
        return line.find("\xe2\x96\x81") != std::string::npos || line.empty() || !std::isalpha(uint8_t(line.front())) ||
               !std::isalpha(uint8_t(line.back()));
      });
      EXPECT_GT(said_lines.size(), 300u);
    }
    expect_same(name, before, said->spec, said_lines);
    // The other way round: GGUF's tokenizer as files.
    auto files = write_tokenizer_files(said->spec);
    ASSERT_TRUE(files.ok()) << name << ": " << files.status().message();
    EXPECT_EQ(files->back().text, spec->chat_template);
    auto again = read_back(*files);
    ASSERT_TRUE(again.ok()) << again.status().message();
    expect_same(name, said->spec, *again, {lines.begin(), lines.begin() + 1000});
    EXPECT_EQ(again->tokens.size(), spec->tokens.size());
  }
}

TEST(TokenizerJsonWrite, SentencePieceBpeByItsMerges) {
  const auto texts = golden_texts();
  for (const bool prefix : {false, true}) {
    TokenizerSpec spec = golden_spec(read_golden("token/llama.json").at("spec"));
    spec.add_space_prefix = prefix;
    auto files = write_tokenizer_files(spec);
    ASSERT_TRUE(files.ok()) << files.status().message();
    auto again = read_back(*files);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(again->algorithm, TokenModel::bpe);
    expect_same("llama", spec, *again, texts);
    auto said = gguf_tokenizer(*again, spec.tokens.size());
    ASSERT_TRUE(said.ok()) << said.status().message();
    EXPECT_EQ(said->spec.model, "llama");
    EXPECT_EQ(said->spec.add_space_prefix, prefix);
    EXPECT_TRUE(said->warnings.empty()) << said->warnings[0];
    spec.types[size_t(spec.unk)] = uint8_t(TokenType::unknown);  // control in that file
    EXPECT_EQ(said->spec.types, spec.types);
    expect_same("llama back", spec, said->spec, texts);
  }
}

TEST(TokenizerJsonWrite, PairsOfTwoTypesAreSaid) {
  TokenizerSpec spec = small_gpt2({}, {"<s>"});
  EXPECT_EQ(write_tokenizer_files(spec)->at(1).text.find("token_type_ids"), std::string::npos);
  spec.pair = {{}, {.id = 256}, {.sequence = 1, .type_id = 1}};
  EXPECT_NE(write_tokenizer_files(spec)->at(1).text.find("token_type_ids"), std::string::npos);
}

TEST(SpmMerges, FollowTheScores) {
  const std::vector<std::string> tokens = {"a", "b", "ab", "aba", "ba", "x y", "x", " y"};
  const std::vector<double> scores = {0, 0, -1, -2, -1, -5, 0, 0};
  const std::vector<bool> all(8, true);
  const auto merges = *merges_of_scores(tokens, scores, all);
  const std::vector<TokenMerge> expected = {{"ab", 1}, {"ba", 1}, {"aba", 2}, {"aba", 1}, {"x y", 1}};
  EXPECT_EQ(merges, expected);
  const auto back = scores_of_merges(tokens, merges, all);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*merges_of_scores(tokens, *back, all), merges);
  std::vector<TokenMerge> fewer = {merges[0], merges[2]};
  EXPECT_FALSE(scores_of_merges(tokens, fewer, all).ok());
  EXPECT_FALSE(scores_of_merges(tokens, std::vector<TokenMerge>{{"zz", 1}}, all).ok());
  std::vector<std::string> runs;  // every one splits into every other
  for (size_t i = 1; i <= 1500; ++i) runs.emplace_back(i, 'a');
  const auto huge = merges_of_scores(runs, std::vector<double>(1500), std::vector<bool>(1500, true));
  ASSERT_FALSE(huge.ok());
  EXPECT_NE(huge.status().message().find("tokens so long"), std::string::npos);
}

TEST(TokenizerJsonWrite, WhatTheFilesCannotSayIsRefused) {
  const auto refusal = [](TokenizerSpec spec) {
    auto files = write_tokenizer_files(std::move(spec));
    return files.ok() ? std::string() : std::string(files.status().message());
  };
  TokenizerSpec spec = small_gpt2({"a b"}, {"<s>"});
  EXPECT_EQ(refusal(spec), "");
  TokenizerSpec twice = spec;
  twice.tokens.back() = twice.tokens[5];
  EXPECT_NE(refusal(twice).find("are both"), std::string::npos);
  TokenizerSpec bytes = spec;
  bytes.tokens.back() = "\xff";
  EXPECT_NE(refusal(bytes).find("not UTF-8"), std::string::npos);
  TokenizerSpec inner = spec;
  inner.merges.push_back(merge_of("a zz"));
  EXPECT_NE(refusal(inner).find("\"zz\", which is no token"), std::string::npos);
}

}  // namespace
}  // namespace vibee
