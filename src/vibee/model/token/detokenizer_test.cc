// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/detokenizer.h"

#include <gtest/gtest.h>

#include "vibee/model/token/golden_spec.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

std::unique_ptr<Tokenizer> bytes_and_end() {
  auto made = make_tokenizer(small_gpt2({}, {"<|im_end|>"}));
  EXPECT_TRUE(made.ok());
  return std::move(*made);
}

std::vector<int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  EXPECT_TRUE(tokenizer.encode(text, true, &ids).ok());
  return ids;
}

TEST(StreamDecoder, SendsOnlyWholeCharacters) {
  const auto tokenizer = bytes_and_end();
  StreamDecoder decoder(*tokenizer);
  std::vector<std::string> sent;
  for (const int32_t id : ids_of(*tokenizer, "a\xc3\xa4\xf0\x9f\x99\x82")) sent.push_back(decoder.push(id));
  EXPECT_EQ(sent, (std::vector<std::string>{"a", "", "\xc3\xa4", "", "", "", "\xf0\x9f\x99\x82"}));
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, BadBytesBecomeReplacementCharacters) {
  const auto tokenizer = bytes_and_end();
  const auto stream = [&](std::string_view text) {
    StreamDecoder decoder(*tokenizer);
    std::string all;
    for (const int32_t id : ids_of(*tokenizer, text)) all += decoder.push(id);
    return all + decoder.finish();
  };
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(stream("\xff"), bad);
  EXPECT_EQ(stream("\xe2\x82"), bad);
  EXPECT_EQ(stream("\xe2\x82z"), bad + "z");
  EXPECT_EQ(stream("\xe2\xe2\x82\xac"), bad + "\xe2\x82\xac");
  EXPECT_EQ(stream("\xc0\x80"), bad + bad);
  EXPECT_EQ(stream("\xed\xa0\x80"), bad + bad + bad);
  EXPECT_EQ(stream("\xf4\x90\x80\x80x"), bad + bad + bad + bad + "x");
}

// Streaming any bytes gives the same text as looking at all of them at once.
TEST(StreamDecoder, EveryTwoAndThreeByteBeginning) {
  const auto tokenizer = bytes_and_end();
  for (int lead = 0xc0; lead < 256; ++lead) {
    for (int second = 0x70; second < 256; second += 7) {
      const std::string text = {char(lead), char(second), char(0x80), 'x'};
      StreamDecoder decoder(*tokenizer);
      std::string all;
      for (const int32_t id : ids_of(*tokenizer, text)) all += decoder.push(id);
      EXPECT_EQ(all + decoder.finish(), valid_utf8(text));
    }
  }
}

TEST(StreamDecoder, ControlTokensAppearWhenAskedFor) {
  const auto tokenizer = bytes_and_end();
  StreamDecoder hides(*tokenizer), shows(*tokenizer, true);
  EXPECT_EQ(hides.push(256), "");
  EXPECT_EQ(shows.push(256), "<|im_end|>");
  EXPECT_EQ(hides.push(-5), "");
  EXPECT_EQ(hides.push(99999), "");
}

TEST(StreamDecoder, OnlyTheStartOfATextLosesThePrefixSpace) {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens = {"<s>", "\xe2\x96\x81hi", "\xe2\x96\x81"};
  spec.types = {3, 1, 1};
  spec.scores = {0, -1, -2};
  const auto made = make_tokenizer(std::move(spec));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(decode(**made, std::vector<int32_t>{0, 1, 1}), "hi hi");
  EXPECT_EQ(decode(**made, std::vector<int32_t>{2, 1}), " hi");
  StreamDecoder decoder(**made);
  EXPECT_EQ(decoder.push(1), " hi");
}

TEST(Utf8, EncodesWhatItDecodes) {
  for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(code, &text);
    const Utf8Step step = utf8_step(text);
    ASSERT_EQ(step.kind, Utf8Step::character);
    ASSERT_EQ(step.code, code);
    ASSERT_EQ(step.length, text.size());
  }
}

}  // namespace
}  // namespace vibee
