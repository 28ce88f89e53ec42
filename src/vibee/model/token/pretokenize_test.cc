// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/pretokenize.h"

#include <gtest/gtest.h>

#include "vibee/model/token/golden_spec.h"

namespace vibee {
namespace {

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
    const auto pre = PreTokenizer::make(name);
    ASSERT_TRUE(pre.ok()) << pre.status().message();
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<std::string_view> words;
      ASSERT_TRUE(pre->split(texts[i], &words).ok());
      std::vector<size_t> sizes;
      for (const auto word : words) sizes.push_back(word.size());
      EXPECT_EQ(sizes, lengths[i].get<std::vector<size_t>>()) << name << " text " << i << ": " << texts[i];
      EXPECT_EQ(joined(words), texts[i]);
    }
  }
}

TEST(PreTokenizer, UnknownNameNamesTheKnown) {
  const auto pre = PreTokenizer::make("nonesuch");
  ASSERT_FALSE(pre.ok());
  EXPECT_EQ(pre.status().code(), Code::unsupported);
  EXPECT_NE(pre.status().message().find("nonesuch"), std::string::npos);
  EXPECT_NE(pre.status().message().find("smollm"), std::string::npos);
}

TEST(PreTokenizer, InvalidBytesStandAloneAndAreKept) {
  const auto pre = PreTokenizer::make("gpt-2");
  std::vector<std::string_view> words;
  const std::string text = "ab\xff\xfe cd\xe2\x82";
  ASSERT_TRUE(pre->split(text, &words).ok());
  EXPECT_EQ(words, (std::vector<std::string_view>{"ab", "\xff\xfe", " cd", "\xe2\x82"}));
}

// Every pattern on megabytes of one kind of character: no error, no loss; quadratic work would not end within the
// test's time.
TEST(PreTokenizer, LongRunsStayLinear) {
  const std::string kinds[] = {" ",  "\n",  "a",        "A",  "1",    "!", "\xe4\xbd\xa0",
                               "' ", " \n", "\xcc\x81", "aA", "\xff", "'"};
  for (const char* name : {"gpt-2", "smollm", "default", "llama-bpe", "qwen2", "gpt-4o", "tekken", "falcon"}) {
    const auto pre = PreTokenizer::make(name);
    for (const std::string& kind : kinds) {
      std::string text;
      while (text.size() < (1u << 20)) text += kind;
      std::vector<std::string_view> words;
      const Status status = pre->split(text, &words);
      ASSERT_TRUE(status.ok()) << name << ": " << status.message();
      ASSERT_EQ(joined(words), text) << name;
    }
  }
}

}  // namespace
}  // namespace vibee
