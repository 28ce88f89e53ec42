// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "vibee/base/random/philox.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/golden_spec.h"

namespace vibee {
namespace {

std::string pieces(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string all;
  for (const int32_t id : ids) all += tokenizer.piece(id);
  return all;
}

TEST(ByteBpe, IdsEqualThoseOfHuggingFaceTokenizers) {
  const auto golden = read_golden("token/gpt2.json");
  const auto texts = golden_texts();
  for (const auto& run : golden.at("runs")) {
    TokenizerSpec spec = golden_spec(golden.at("spec"));
    spec.pre = run.at("pre");
    const auto made = make_tokenizer(std::move(spec));
    ASSERT_TRUE(made.ok()) << made.status().message();
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<int32_t> ids;
      const Status status = (*made)->encode(texts[i], run.at("parse_special"), &ids);
      if (run.at("ids")[i].is_null()) {  // a byte that this vocabulary lacks: said, where others drop it in silence
        EXPECT_EQ(status.code(), Code::invalid) << texts[i];
        EXPECT_NE(status.message().find("has no token"), std::string::npos);
        EXPECT_TRUE(ids.empty());
        continue;
      }
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(ids, run.at("ids")[i].get<std::vector<int32_t>>()) << run.at("pre") << ": " << texts[i];
      EXPECT_EQ(pieces(**made, ids), texts[i]);
    }
  }
}

/// The definition: while any adjacent pair has a rank, merge the leftmost of the lowest rank.
std::vector<std::string> merge_slowly(const std::string& word, const std::vector<std::string>& merges) {
  std::vector<std::string> list;
  for (const char c : word) list.emplace_back(1, c);
  for (;;) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < list.size(); ++i) {
      const size_t rank = std::find(merges.begin(), merges.end(), list[i] + " " + list[i + 1]) - merges.begin();
      if (rank < best) best = rank, at = i;
    }
    if (best == merges.size()) return list;
    list[at] += list[at + 1];
    list.erase(list.begin() + at + 1);
  }
}

TEST(ByteBpe, EqualsTheDefinitionOnRandomVocabularies) {
  RandomStream random(11, Purpose::test);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> merges, known = {"a", "b", "c"};
    for (int m = 0; m < 12; ++m) {
      const std::string l = known[random.below(uint32_t(known.size()))],
                        r = known[random.below(uint32_t(known.size()))];
      if (std::find(known.begin(), known.end(), l + r) != known.end()) continue;
      merges.push_back(l + " " + r);
      known.push_back(l + r);
    }
    const auto made = make_tokenizer(small_gpt2(merges));
    ASSERT_TRUE(made.ok());
    std::string word;
    for (uint32_t n = random.below(40); n > 0; --n) word += char('a' + random.below(3));
    std::vector<int32_t> ids;
    ASSERT_TRUE((*made)->encode(word, false, &ids).ok());
    std::vector<std::string> got;
    for (const int32_t id : ids) got.emplace_back((*made)->piece(id));
    EXPECT_EQ(got, merge_slowly(word, merges)) << word;
  }
}

TEST(ByteBpe, AnyBytesSurviveARoundTrip) {
  const auto made = make_tokenizer(small_gpt2({"\xc4\xa0 a", "a a", "\xc3\xa2 \xc4\xa2"}));
  ASSERT_TRUE(made.ok()) << made.status().message();
  RandomStream random(5, Purpose::test);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (uint32_t n = random.below(64); n > 0; --n)
      text += char(random.below(3) == 0 ? ' ' + random.below(70) : random.below(256));
    std::vector<int32_t> ids;
    ASSERT_TRUE((*made)->encode(text, true, &ids).ok());
    EXPECT_EQ(pieces(**made, ids), text);
  }
}

TEST(ByteBpe, MergesThroughTextsThatAreNoTokens) {
  TokenizerSpec spec = small_gpt2({"a b", "ab c"});
  spec.tokens[256] = "unrelated";  // "ab" is no token any more, "abc" still is
  const auto made = make_tokenizer(std::move(spec));
  ASSERT_TRUE(made.ok());
  std::vector<int32_t> ids;
  ASSERT_TRUE((*made)->encode("abcab", false, &ids).ok());
  EXPECT_EQ(ids, (std::vector<int32_t>{257, 'a', 'b'}));
}

// A million letters in one word: the quadratic algorithm would take hours.
TEST(ByteBpe, HostileLongWordIsFast) {
  std::vector<std::string> merges;
  std::string run = "a";
  for (int i = 0; i < 11; ++i, run += run) merges.push_back(run + " " + run);
  const auto made = make_tokenizer(small_gpt2(merges));
  ASSERT_TRUE(made.ok());
  std::vector<int32_t> ids;
  ASSERT_TRUE((*made)->encode(std::string(1 << 20, 'a'), false, &ids).ok());
  EXPECT_EQ(ids.size(), size_t(1 << 20) / 2048);
}

}  // namespace
}  // namespace vibee
