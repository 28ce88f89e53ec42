// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/token_store.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "vibee/base/random/philox.h"
#include "vibee/kit/small_tokenizer.h"
#include "vibee/kit/temp_folder.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

std::vector<TokenDocument> random_documents(uint64_t seed, uint32_t count, uint32_t vocabulary, uint32_t longest) {
  RandomStream random(seed, Purpose::test);
  std::vector<TokenDocument> out(count);
  for (TokenDocument& document : out) {
    document.ids.resize(1 + random.below(longest));
    for (int32_t& id : document.ids) id = int32_t(random.below(vocabulary));
    if (random.below(2) == 0) continue;
    for (size_t i = 0; i < document.ids.size(); ++i) document.learnt.push_back(random.below(2) == 0);
  }
  return out;
}

class TokenStoreTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path() + "/store"; }
  void write(const std::vector<TokenDocument>& documents, uint32_t vocabulary) {
    auto writer = TokenStoreWriter::create(path(), vocabulary, {1, 2, 3});
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (const TokenDocument& document : documents) ASSERT_TRUE(writer->add(document).ok());
    const Status done = writer->finish();
    ASSERT_TRUE(done.ok()) << done.message();
  }
  std::vector<uint8_t> bytes() const {
    auto text = read_small_file(path(), 1 << 30);
    return {text->begin(), text->end()};
  }
  TempFolder folder_;
};

TEST_F(TokenStoreTest, GivesBackWhatWasWritten) {
  for (const uint32_t vocabulary : {300u, 65536u, 65537u, 2000000u}) {
    const auto documents = random_documents(vocabulary, 40, vocabulary, 900);
    write(documents, vocabulary);
    auto store = TokenStore::open(path());
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_EQ(store->id_bytes(), vocabulary <= 65536 ? 2u : 4u);
    EXPECT_EQ(store->vocabulary(), vocabulary);
    ASSERT_EQ(store->documents(), documents.size());
    EXPECT_TRUE(store->verify().ok());
    uint64_t at = 0, learnt = 0;
    for (size_t i = 0; i < documents.size(); ++i) {
      const auto extent = store->document(i);
      ASSERT_TRUE(extent.ok()) << extent.status().message();
      EXPECT_EQ(extent->begin, at);
      ASSERT_EQ(extent->end, at + documents[i].ids.size());
      TokenSpan span;
      ASSERT_TRUE(store->read(at, documents[i].ids.size(), &span).ok());
      EXPECT_EQ(span.ids, documents[i].ids);
      for (size_t k = 0; k < span.ids.size(); ++k) {
        EXPECT_EQ(span.ends[k], k + 1 == span.ids.size());
        EXPECT_EQ(span.learnt[k], documents[i].learnt.empty() || documents[i].learnt[k]);
        learnt += span.learnt[k];
      }
      at = extent->end;
    }
    EXPECT_EQ(store->tokens(), at);
    EXPECT_EQ(store->learnt(), learnt);
    EXPECT_FALSE(store->document(documents.size()).ok());
  }
}

TEST_F(TokenStoreTest, PiecesAreOneDocument) {
  write({{.ids = {1, 2}, .ends = false}, {.ids = {}, .ends = true}, {.ids = {}}, {.ids = {3}}}, 10);
  auto store = TokenStore::open(path());
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(store->documents(), 2u);
  EXPECT_EQ(store->document(0)->end, 2u);
  // A piece that ends a document exactly where a block is full.
  write({{.ids = std::vector<int32_t>(TokenStore::kBlock, 5), .ends = false}, {.ids = {}}, {.ids = {6}}}, 10);
  store = TokenStore::open(path());
  ASSERT_TRUE(store.ok());
  EXPECT_TRUE(store->verify().ok());
  EXPECT_EQ(store->document(0)->end, uint64_t(TokenStore::kBlock));
  EXPECT_EQ(store->document(1)->end, uint64_t(TokenStore::kBlock) + 1);
}

TEST_F(TokenStoreTest, RefusesWhatCannotBe) {
  auto writer = TokenStoreWriter::create(path(), 10, {});
  ASSERT_TRUE(writer.ok());
  EXPECT_THAT(writer->add({.ids = {10}}).message(), HasSubstr("id 10 is outside of the vocabulary of 10"));
  EXPECT_FALSE(writer->add({.ids = {-1}}).ok());
  EXPECT_THAT(writer->finish().message(), HasSubstr("nothing to store"));
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_FALSE(TokenStoreWriter::create(path(), 0, {}).ok());
  EXPECT_FALSE(TokenStoreWriter::create(folder_.path() + "/no/store", 10, {}).ok());
  EXPECT_EQ(TokenStore::open(path()).status().code(), Code::not_found);
}

TEST_F(TokenStoreTest, FindsEveryDamagedByteAndEveryCut) {
  write(random_documents(7, 9, 1000, 1500), 1000);
  const std::vector<uint8_t> good = bytes();
  const auto opened = [&](std::vector<uint8_t> with) {
    return TokenStore::open(memory_source(std::move(with)), "store");
  };
  const auto healthy = [&](std::vector<uint8_t> with) {
    const auto store = opened(std::move(with));
    return store.ok() && store->verify().ok();
  };
  ASSERT_TRUE(healthy(good));
  RandomStream random(3, Purpose::test);
  for (int i = 0; i < 300; ++i) {
    std::vector<uint8_t> bad = good;
    bad[i < 44   ? size_t(i)
        : i < 84 ? bad.size() - 84 + size_t(i)
                 : random.below(uint32_t(bad.size()))] ^= uint8_t(1 << i % 8);
    EXPECT_FALSE(healthy(bad)) << i;
    bad = good;
    bad.resize(random.below(uint32_t(good.size())));
    EXPECT_FALSE(healthy(bad)) << bad.size();
  }
  std::vector<uint8_t> bad = good;
  bad[44 + 8] ^= 1;
  EXPECT_THAT(opened(bad)->verify().message(), HasSubstr("block 0 at offset 44 is damaged"));
  TokenSpan span;
  EXPECT_FALSE(opened(bad)->read(0, 1, &span).ok());
}

TEST_F(TokenStoreTest, KnowsTheVocabularyItWasMadeWith) {
  const auto made = small_tokenizer({"cat", "dog"}), other = small_tokenizer({"cat", "cow"}),
             more = small_tokenizer({"a", "b", "c"});
  auto writer = TokenStoreWriter::create(path(), uint32_t(made->size()), vocabulary_hash(*made));
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->add({.ids = {3, 4}}).ok());
  ASSERT_TRUE(writer->finish().ok());
  const auto store = TokenStore::open(path());
  ASSERT_TRUE(store.ok());
  EXPECT_TRUE(store->check_tokenizer(*made).ok());
  EXPECT_THAT(store->check_tokenizer(*other).message(), HasSubstr("another vocabulary of 260 tokens"));
  EXPECT_THAT(store->check_tokenizer(*more).message(),
              HasSubstr("was made with a vocabulary of 260 tokens, this tokenizer has 261"));
}

}  // namespace
}  // namespace vibee
