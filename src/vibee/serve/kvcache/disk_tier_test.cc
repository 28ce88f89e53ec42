// SPDX-License-Identifier: Apache-2.0
// A restart: pages that another process computed give the logits that computing them again would give.
#include "vibee/serve/kvcache/disk_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/session/session.h"
#include "vibee/serve/kvcache/kvcache.h"

namespace vibee {
namespace {

using Tokens = std::vector<int32_t>;

/// What one process has: a session, an index and a tier in a folder.
struct Process {
  Process(const Model& model, KvFormat kv, const std::string& index_id, const std::string& folder,
          const std::string& name = "a model", uint32_t pages = 0) {
    SessionOptions o{256, 2, 64, 1, kv};
    o.pages = pages;
    session = std::move(*Session::create(model, o));
    index = std::move(*make_prefix_index(index_id, &session->pages()));
    auto tier = DiskTier::open({folder, 8 << 20, name, name, 256}, &session->pages());
    EXPECT_TRUE(tier.ok()) << tier.status().message();
    disk = std::move(*tier);
    index->set_tier(disk.get());
  }
  ~Process() { index.reset(); }  // before what it stands on
  /// The logits behind `tokens`, and how many of them were reused.
  std::vector<float> logits(const Tokens& tokens, uint32_t* reused = nullptr, uint64_t space = 0) {
    const auto head = std::span(tokens).first(tokens.size() - 1);
    SequenceState s = index->match(space, head);
    index->load(space, head, 0, &s);
    if (reused) *reused = s.length();
    std::vector<float> out;
    while (s.length() < tokens.size()) {
      const auto n = std::min<size_t>(64, tokens.size() - s.length());
      const StepRows rows[] = {{&s, std::span(tokens).subspan(s.length(), n), 1}};
      const auto row = session->step(rows);
      EXPECT_TRUE(row.ok()) << row.status().message();
      out.assign(row->begin(), row->end());
    }
    index->insert(space, tokens, s);
    return out;
  }
  std::unique_ptr<Session> session;
  std::unique_ptr<DiskTier> disk;
  std::unique_ptr<PrefixIndex> index;
};

class DiskTierTest : public testing::TestWithParam<std::tuple<std::string, KvFormat>> {
 protected:
  DiskTierTest() : model_(std::move(*Model::load(TinyModelFile(shape()).path(), {1, detected_isa(), {}, false}))) {
    for (int i = 0; i < 150; ++i) tokens_.push_back(i * 7 % 48);
  }
  static TinyModel shape() {
    TinyModel m;
    m.head_dim = 32;  // a block of q8_0
    return m;
  }
  std::unique_ptr<Process> start(const std::string& name = "a model", uint32_t pages = 0) {
    return std::make_unique<Process>(*model_, std::get<1>(GetParam()), std::get<0>(GetParam()), folder_.path(), name,
                                     pages);
  }
  /// Without what is in the folder.
  std::unique_ptr<Process> start_elsewhere() {
    return std::make_unique<Process>(*model_, std::get<1>(GetParam()), std::get<0>(GetParam()), elsewhere_.path());
  }
  TempFolder folder_, elsewhere_;
  std::unique_ptr<Model> model_;
  Tokens tokens_;
};

bool equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

TEST_P(DiskTierTest, AfterARestartLogitsAreBitEqual) {
  uint32_t reused = 9;
  std::vector<float> want = start()->logits(tokens_, &reused);
  EXPECT_EQ(reused, 0u);
  auto again = start();
  EXPECT_TRUE(equal(again->logits(tokens_, &reused), want));
  EXPECT_EQ(reused, 144u);
  EXPECT_EQ(again->disk->stats().loaded, 9u);
  Tokens other(tokens_.begin(), tokens_.begin() + 100);  // goes on in another way
  other.insert(other.end(), 20, 5);
  EXPECT_TRUE(equal(again->logits(other), start_elsewhere()->logits(other)));
  // In memory now: nothing is loaded twice.
  (void)again->logits(tokens_);
  EXPECT_EQ(again->disk->stats().loaded, 9u);
  again = nullptr;
  again = start();
  (void)again->logits(other, &reused);
  EXPECT_EQ(reused, 112u);
}

TEST_P(DiskTierTest, OtherModelsAndSpacesHaveOtherPages) {
  (void)start()->logits(tokens_);
  uint32_t reused = 9;
  (void)start()->logits(tokens_, &reused, 1);
  EXPECT_EQ(reused, 0u);
  auto other = start("another model");
  (void)other->logits(tokens_, &reused);
  EXPECT_EQ(reused, 0u);
  EXPECT_EQ(other->disk->stats().log.others, std::vector<std::string>{"a model"});
}

TEST_P(DiskTierTest, ABrokenPageIsComputedAgain) {
  const std::vector<float> want = start()->logits(tokens_);
  const std::string file = folder_.path() + "/00000001.kv";
  const uint64_t page = start_elsewhere()->session->pages().page_bytes();
  {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(std::streamoff(slot_offset(page, 3) + page / 2));  // not in what fills a record up
    f.put(char(0x55));
    f.put(char(0xaa));
  }
  uint32_t reused = 0;
  auto again = start();
  EXPECT_TRUE(equal(again->logits(tokens_, &reused), want));
  EXPECT_EQ(reused, 48u);
  EXPECT_EQ(again->disk->stats().log.bad, 1u);
  again = nullptr;
  EXPECT_TRUE(equal(start()->logits(tokens_, &reused), want));
  EXPECT_EQ(reused, 144u);  // it was written anew
}

TEST_P(DiskTierTest, TakesNoMorePagesThanThereAre) {
  (void)start()->logits(tokens_);
  auto small = start("a model", 6);
  SequenceState s = small->index->match(0, tokens_);
  small->index->load(0, tokens_, 0, &s);
  EXPECT_EQ(s.length(), 96u);  // six pages, and none that can go
  s.truncate(0);
  small->index->clear();
  EXPECT_EQ(small->session->pages().free_pages(), 6u);
}

TEST_P(DiskTierTest, StopsWhereLoadingIsSlowerThanComputing) {
  (void)start()->logits(tokens_);
  auto again = start();
  SequenceState s = again->index->match(0, tokens_);
  again->index->load(0, tokens_, 1e-12, &s);
  EXPECT_EQ(s.length(), 16u);
}

INSTANTIATE_TEST_SUITE_P(
    All, DiskTierTest,
    testing::Combine(testing::Values("radix", "hash"),
                     testing::Values(KvFormat::f32, KvFormat::f16, KvFormat::q8_0, KvFormat::int4)),
    [](const auto& row) { return std::get<0>(row.param) + std::to_string(int(std::get<1>(row.param))); });

TEST(DiskTier, RefusesALimitBelowOneSequence) {
  const KvLayout layers[] = {{KvFormat::f16, 1, 16}};
  auto store = PageStore::create(layers, 4);
  TempFolder folder;
  EXPECT_THAT(DiskTier::open({folder.path(), 100000, "m", "m", 4096}, &*store).status().message(),
              testing::HasSubstr("256 pages of one sequence"));
}

}  // namespace
}  // namespace vibee
