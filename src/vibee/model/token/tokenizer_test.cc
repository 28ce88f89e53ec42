// SPDX-License-Identifier: Apache-2.0
// What both kinds of tokenizer share: validation, special tokens, ends.
#include "vibee/model/token/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/model/token/golden_spec.h"

namespace vibee {

TokenizerSpec small_gpt2(const std::vector<std::string>& merges, const std::vector<std::string>& specials) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = "gpt-2";
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const uint32_t c = printable ? b : next++;
    spec.tokens.push_back(c < 0x80 ? std::string(1, char(c))
                                   : std::string{char(0xc0 | c >> 6), char(0x80 | (c & 0x3f))});
  }
  for (const std::string& merge : merges) {
    std::string made = merge;
    made.erase(made.find(' '), 1);
    spec.tokens.push_back(made);
    spec.merges.push_back(merge_of(merge));
  }
  spec.types.assign(spec.tokens.size(), uint8_t(TokenType::normal));
  for (const std::string& special : specials) {
    spec.tokens.push_back(special);
    spec.types.push_back(uint8_t(TokenType::control));
  }
  return spec;
}

namespace {

Status refusal(TokenizerSpec spec) {
  auto made = make_tokenizer(std::move(spec));
  EXPECT_FALSE(made.ok());
  return made.take_status();
}

TEST(MakeTokenizer, RefusesBadMetadataAndSaysWhat) {
  const TokenizerSpec good = small_gpt2({"a b"}, {"<|im_end|>"});
  ASSERT_TRUE(make_tokenizer(good).ok());
  const auto expect = [&](auto change, Code code, const char* what) {
    TokenizerSpec spec = good;
    change(spec);
    const Status status = refusal(std::move(spec));
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(what), std::string::npos) << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  };
  using S = TokenizerSpec;
  expect([](S& s) { s.model = "rwkv"; }, Code::unsupported, "known are gpt2");
  expect([](S& s) { s.pre = ""; }, Code::unsupported, "smollm");
  expect([](S& s) { s.tokens.clear(); }, Code::corrupt, "empty");
  expect([](S& s) { s.types.pop_back(); }, Code::corrupt, "token types for");
  expect([](S& s) { s.types[3] = 9; }, Code::corrupt, "token 3 has type 9");
  expect([](S& s) { s.scores = {1.0f}; }, Code::corrupt, "1 scores");
  expect([](S& s) { s.eos = 258; }, Code::corrupt, "eos id 258");
  expect([](S& s) { s.bos = -2; }, Code::corrupt, "bos id -2");
  expect([](S& s) { s.add_bos = true; }, Code::corrupt, "no bos id");
  expect([](S& s) { s.merges[0] = merge_of("ab"); }, Code::corrupt, "merge 0");
  expect([](S& s) { s.merges[0] = merge_of("a "); }, Code::corrupt, "merge 0");
  expect([](S& s) { s.tokens[5] = std::string(5000, 'x'); }, Code::corrupt, "token 5 has 5000 bytes");
  expect([](S& s) { s.tokens[257] = std::string(2000, 'x'); }, Code::corrupt, "special token 257");
  expect([](S& s) { s.model = "llama"; }, Code::corrupt, "needs scores");
  expect(
      [](S& s) {
        s.model = "llama";
        s.scores.assign(s.tokens.size(), NAN);
      },
      Code::corrupt, "not a number");
}

TEST(Tokenizer, SpecialTokensOnlyWhenAskedFor) {
  TokenizerSpec spec = small_gpt2({}, {"<|im_end|>", "<|im_end|>>", "<tool>"});
  spec.types.back() = uint8_t(TokenType::user_defined);
  const int32_t end = 256, longer = 257, tool = 258;
  const auto made = make_tokenizer(std::move(spec));
  ASSERT_TRUE(made.ok());
  const Tokenizer& t = **made;
  std::vector<int32_t> ids;
  ASSERT_TRUE(t.encode("a<|im_end|>>b<tool><|im_end|>", true, &ids).ok());
  EXPECT_EQ(ids, (std::vector<int32_t>{'a', longer, 'b', tool, end}));
  ids.clear();
  ASSERT_TRUE(t.encode("<|im_end|><tool>", false, &ids).ok());
  EXPECT_EQ(ids.size(), 11u);
  EXPECT_EQ(ids.back(), tool);
  EXPECT_TRUE(t.is_control(end));
  EXPECT_FALSE(t.is_control(tool));
  EXPECT_EQ(t.piece(tool), "<tool>");
  EXPECT_EQ(t.find("<tool>"), tool);
  EXPECT_EQ(t.find("none"), -1);
}

TEST(Tokenizer, EndsByIdAndByName) {
  TokenizerSpec spec = small_gpt2({}, {"<|im_end|>", "<end_of_turn>", "<|im_start|>"});
  spec.eos = 65;
  spec.ends = {66, 65};  // as generation_config.json lists them
  TokenizerSpec bad = spec;
  bad.ends = {1000};
  EXPECT_NE(make_tokenizer(std::move(bad)).status().message().find("the id 1000 of \"eos_token_id\""),
            std::string::npos);
  const auto made = make_tokenizer(std::move(spec));
  ASSERT_TRUE(made.ok());
  std::vector<int32_t> ends;
  for (int32_t id = -1; id <= (*made)->size(); ++id) {
    if ((*made)->is_end(id)) ends.push_back(id);
  }
  EXPECT_EQ(ends, (std::vector<int32_t>{65, 66, 256, 257}));
  EXPECT_EQ((*made)->piece(-1), "");
  EXPECT_EQ((*made)->piece(100000), "");
}

// A control token cannot be smuggled in through plain text, not even where merges would spell it.
TEST(Tokenizer, MergesNeverMakeControlTokens) {
  TokenizerSpec spec = small_gpt2({"< s", "<s >"});
  spec.types[257] = uint8_t(TokenType::control);
  const auto made = make_tokenizer(spec);
  ASSERT_TRUE(made.ok());
  std::vector<int32_t> ids;
  ASSERT_TRUE((*made)->encode("<s>", false, &ids).ok());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 257), 0);

  TokenizerSpec llama;
  llama.model = "llama";
  llama.tokens = {"<unk>", "<s>", "<", "s", ">", "<s", "s>"};
  llama.types = {2, 3, 1, 1, 1, 1, 1};
  llama.scores = {0, 0, -5, -5, -5, -1, -2};
  llama.unk = 0;
  llama.add_space_prefix = false;
  const auto spm = make_tokenizer(llama);
  ASSERT_TRUE(spm.ok());
  ids.clear();
  ASSERT_TRUE((*spm)->encode("<s>", false, &ids).ok());
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 4}));
  ids.clear();
  ASSERT_TRUE((*spm)->encode("<s>", true, &ids).ok());
  EXPECT_EQ(ids, (std::vector<int32_t>{1}));
}

TEST(Tokenizer, BosDefaultsByKind) {
  EXPECT_TRUE(adds_bos_by_default("llama", "default"));
  EXPECT_TRUE(adds_bos_by_default("gpt2", "llama-bpe"));
  EXPECT_FALSE(adds_bos_by_default("gpt2", "smollm"));
}

}  // namespace
}  // namespace vibee
