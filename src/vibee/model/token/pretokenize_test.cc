// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/pretokenize.h"

#include <gtest/gtest.h>

#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/golden_spec.h"

namespace vibee {
namespace {

Result<PreTokenizer> by_name(std::string_view name) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = name;
  VIBEE_TRY(expand_gguf(&spec));
  return PreTokenizer::make(spec.pre_tokenizers);
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string all;
  for (const auto word : words) all += word;
  return all;
}

TEST(PreTokenizer, WordsEqualThoseOfHuggingFaceTokenizers) {
  const auto texts = golden_texts();
  ASSERT_GT(texts.size(), 200u);
  const auto golden = read_golden("token/words.json");
  for (const auto& [name, lengths] : golden.at("byte_lengths").items()) {
    const auto pre = by_name(name);
    ASSERT_TRUE(pre.ok()) << pre.status().message();
    for (size_t i = 0; i < texts.size(); ++i) {
      Words words;
      ASSERT_TRUE(pre->split(texts[i], true, &words).ok());
      std::vector<size_t> sizes;
      for (const auto word : words.list) sizes.push_back(word.size());
      EXPECT_EQ(sizes, lengths[i].get<std::vector<size_t>>()) << name << " text " << i << ": " << texts[i];
      EXPECT_EQ(joined(words.list), texts[i]);
    }
  }
}

TEST(PreTokenizer, UnknownNameNamesTheKnown) {
  const auto pre = by_name("nonesuch");
  ASSERT_FALSE(pre.ok());
  EXPECT_EQ(pre.status().code(), Code::unsupported);
  EXPECT_NE(pre.status().message().find("nonesuch"), std::string::npos);
  EXPECT_NE(pre.status().message().find("smollm"), std::string::npos);
}

TEST(PreTokenizer, InvalidBytesStandAloneAndAreKept) {
  const auto pre = by_name("gpt-2");
  Words words;
  const std::string text = "ab\xff\xfe cd\xe2\x82";
  ASSERT_TRUE(pre->split(text, true, &words).ok());
  EXPECT_EQ(words.list, (std::vector<std::string_view>{"ab", "\xff\xfe", " cd", "\xe2\x82"}));
}

// Every pattern on megabytes of one kind of character: no error, no loss; quadratic work would not end within the
// test's time.
TEST(PreTokenizer, LongRunsStayLinear) {
  const std::string kinds[] = {" ",  "\n",  "a",        "A",  "1",    "!", "\xe4\xbd\xa0",
                               "' ", " \n", "\xcc\x81", "aA", "\xff", "'"};
  for (const char* name : {"gpt-2", "smollm", "default", "llama-bpe", "qwen2", "gpt-4o", "tekken", "falcon"}) {
    const auto pre = by_name(name);
    for (const std::string& kind : kinds) {
      std::string text;
      while (text.size() < (1u << 20)) text += kind;
      Words words;
      const Status status = pre->split(text, true, &words);
      ASSERT_TRUE(status.ok()) << name << ": " << status.message();
      ASSERT_EQ(joined(words.list), text) << name;
    }
  }
}

}  // namespace
}  // namespace vibee
