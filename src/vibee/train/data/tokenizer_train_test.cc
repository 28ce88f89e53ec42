// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/tokenizer_train.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "vibee/base/random/philox.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/gguf_spec.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/model/token/tokenizer_json.h"
#include "vibee/model/token/tokenizer_json_write.h"
#include "vibee/model/weight/byte_source.h"
#include "vibee/model/weight/json.h"
#include "vibee/train/data/bpe_train.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

const std::string kLicense = VIBEE_SOURCE_DIR "/LICENSE";

TokenizerTraining training(std::vector<std::string> inputs, size_t vocabulary) {
  TokenizerTraining config;
  config.scan.inputs = std::move(inputs);
  config.vocabulary = vocabulary;
  return config;
}

TEST(TokenizerTrain, LearnsTheMergesOfHuggingFaceTokenizers) {
  const auto text = read_small_file(VIBEE_SOURCE_DIR "/data/golden/bpe_train.json", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto golden = parse_json(*text);
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  ASSERT_EQ(golden->names.size(), 2u);
  for (size_t k = 0; k < golden->names.size(); ++k) {
    TokenizerTraining config = training({kLicense}, 700);
    config.pre = golden->names[k];
    const auto trained = train_tokenizer(config);
    ASSERT_TRUE(trained.ok()) << trained.status().message();
    const std::vector<JsonValue>& merges = golden->items[k].items;
    ASSERT_EQ(trained->spec.merges.size(), merges.size());
    for (size_t i = 0; i < merges.size(); ++i) {
      ASSERT_EQ(trained->spec.merges[i].left(), merges[i].items[0].text) << config.pre << " merge " << i;
      ASSERT_EQ(trained->spec.merges[i].right(), merges[i].items[1].text) << config.pre << " merge " << i;
    }
    EXPECT_EQ(trained->spec.tokens.size(), 700u);
  }
}

/// The definition: count all pairs anew before every merge.
std::vector<LearntMerge> plain_merges(std::vector<CountedWord> words, std::vector<std::string> texts, size_t vocabulary,
                                      uint64_t least) {
  std::vector<LearntMerge> merges;
  while (texts.size() < vocabulary) {
    std::map<std::pair<uint32_t, uint32_t>, uint64_t> counts;
    for (const CountedWord& word : words) {
      for (size_t i = 0; i + 1 < word.symbols.size(); ++i) counts[{word.symbols[i], word.symbols[i + 1]}] += word.count;
    }
    auto best = counts.begin();
    for (auto at = counts.begin(); at != counts.end(); ++at)
      if (at->second > best->second) best = at;
    if (best == counts.end() || best->second < least) break;
    const auto [left, right] = best->first;
    const auto known = std::find(texts.begin(), texts.end(), texts[left] + texts[right]);
    const uint32_t made = uint32_t(known - texts.begin());
    if (known == texts.end()) texts.push_back(texts[left] + texts[right]);
    merges.push_back({left, right, made});
    for (CountedWord& word : words) {
      std::vector<uint32_t> out;
      for (size_t i = 0; i < word.symbols.size(); ++i) {
        const bool joins = i + 1 < word.symbols.size() && word.symbols[i] == left && word.symbols[i + 1] == right;
        out.push_back(joins ? made : word.symbols[i]);
        i += joins;
      }
      word.symbols = std::move(out);
    }
  }
  return merges;
}

TEST(BpeTrain, DoesWhatItsDefinitionDoes) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    RandomStream random(seed, Purpose::test);
    const uint32_t letters = 1 + random.below(4);
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < letters; ++i) texts.emplace_back(1, char('a' + i));
    std::vector<CountedWord> words(1 + random.below(40));
    for (CountedWord& word : words) {
      word.count = 1 + random.below(5);
      word.symbols.resize(random.below(14));
      for (uint32_t& s : word.symbols) s = random.below(letters);
    }
    const uint64_t least = 1 + random.below(3);
    const std::vector<LearntMerge> expected = plain_merges(words, texts, 60, least);
    const auto got = learn_merges(words, &texts, 60, least);
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(got->size(), expected.size()) << seed;
    for (size_t i = 0; i < expected.size(); ++i) {
      const LearntMerge &a = expected[i], &b = (*got)[i];
      ASSERT_TRUE(a.left == b.left && a.right == b.right && a.made == b.made) << "seed " << seed << ", merge " << i;
    }
  }
}

TEST(TokenizerTrain, IsReadBackAndMakesFewerTokensThanBytes) {
  for (const char* pre : {"gpt-2", "llama-bpe"}) {
    TokenizerTraining config = training({kLicense}, 600);
    config.pre = pre;
    config.special = {"<end>", "<pad>"};
    auto trained = train_tokenizer(config);
    ASSERT_TRUE(trained.ok()) << trained.status().message();
    const auto files = write_tokenizer_files(trained->spec);
    ASSERT_TRUE(files.ok()) << files.status().message();
    auto spec = read_tokenizer_json((*files)[0].text, "tokenizer.json");
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    ASSERT_TRUE(read_tokenizer_config((*files)[1].text, "tokenizer_config.json", &*spec).ok());
    const auto tokenizer = make_tokenizer(std::move(*spec)), direct = make_tokenizer(trained->spec);
    ASSERT_TRUE(tokenizer.ok() && direct.ok());
    EXPECT_EQ((*tokenizer)->eos(), 0);
    EXPECT_EQ((*tokenizer)->piece(1), "<pad>");
    EXPECT_TRUE((*tokenizer)->is_control(1));
    const std::string text = *read_small_file(kLicense, 1 << 20) + "na\xc3\xafve \xf0\x9f\x90\x88";
    std::vector<int32_t> ids, same;
    ASSERT_TRUE((*tokenizer)->encode(text, false, &ids).ok());
    ASSERT_TRUE((*direct)->encode(text, false, &same).ok());
    EXPECT_EQ(ids, same);
    EXPECT_LT(ids.size() * 2, text.size());
    EXPECT_EQ(decode(**tokenizer, ids), text);
  }
}

TEST(TokenizerTrain, Characters) {
  TempFolder folder;
  std::ofstream(folder.path() + "/text") << "h\xc3\xa9llo, w\xc3\xb6rld\n\xe2\x82\xac";
  TokenizerTraining config = training({folder.path() + "/text"}, 0);
  config.characters = true;
  const auto trained = train_tokenizer(config);
  ASSERT_TRUE(trained.ok()) << trained.status().message();
  ASSERT_EQ(trained->spec.tokens.size(), 10u + 6 + 4);  // 6 bytes of 3 characters, which have 4 prefixes
  EXPECT_THAT(std::vector(trained->spec.tokens.begin(), trained->spec.tokens.begin() + 3),
              testing::ElementsAre("<|endoftext|>", "\u010a", "\u0120"));  // as byte-level tokens are written
  const auto files = write_tokenizer_files(trained->spec);
  ASSERT_TRUE(files.ok()) << files.status().message();
  auto spec = read_tokenizer_json((*files)[0].text, "tokenizer.json");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  const auto gguf = gguf_tokenizer(*spec, spec->tokens.size());
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  const auto tokenizer = make_tokenizer(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  std::vector<int32_t> ids;
  ASSERT_TRUE((*tokenizer)->encode("lo w\xc3\xb6\xe2\x82\xac\n", false, &ids).ok());
  EXPECT_EQ(ids.size(), 7u);
  EXPECT_EQ(decode(**tokenizer, ids), "lo w\xc3\xb6\xe2\x82\xac\n");
  EXPECT_FALSE((*tokenizer)->encode("x", false, &ids).ok());
}

TEST(TokenizerTrain, DoesNotDependOnThreads) {
  TempFolder folder;
  {
    std::ofstream lines(folder.path() + "/text.jsonl");
    RandomStream random(1, Purpose::test);
    for (int i = 0; i < 9000; ++i)
      lines << fmt::format("{{\"text\": \"w{} and w{}\"}}\n", random.below(90), random.below(9));
  }
  std::vector<TokenMerge> first;
  for (const uint32_t threads : {1u, 3u}) {
    TokenizerTraining config = training({folder.path() + "/text.jsonl"}, 400);
    config.scan.threads = threads;
    const auto trained = train_tokenizer(config);
    ASSERT_TRUE(trained.ok());
    if (threads == 1) first = trained->spec.merges;
    EXPECT_EQ(trained->spec.merges, first);
  }
  EXPECT_GT(first.size(), 50u);
}

TEST(TokenizerTrain, SaysWhatCannotBe) {
  EXPECT_THAT(train_tokenizer(training({kLicense}, 100)).status().message(), HasSubstr("from 257"));
  TokenizerTraining twice = training({kLicense}, 400);
  twice.special = {"<a>", "<a>"};
  EXPECT_THAT(train_tokenizer(twice).status().message(), HasSubstr("stands twice"));
  TokenizerTraining pre = training({kLicense}, 400);
  pre.pre = "gemma4";
  EXPECT_FALSE(train_tokenizer(pre).ok());
  EXPECT_EQ(train_tokenizer(training({"/nothing"}, 400)).status().code(), Code::not_found);
  const auto stop = [](std::string_view, uint64_t) { return false; };
  EXPECT_EQ(train_tokenizer(training({kLicense}, 400), stop).status().code(), Code::cancelled);
}

}  // namespace
}  // namespace vibee
