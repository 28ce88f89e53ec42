// SPDX-License-Identifier: Apache-2.0
// Every index against a plain model: sequences that write their tokens into their pages, so that a page which an index
// gives can be read back.
#include "vibee/serve/kvcache/kvcache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "vibee/base/random/philox.h"
#include "vibee/serve/kvcache/radix_attention.h"

namespace vibee {
namespace {

using Tokens = std::vector<int32_t>;
const KvLayout kLayers[] = {{KvFormat::f32, 1, 8}};  // 16 positions x 8 x 4 bytes for keys: room for 16 tokens

class PrefixIndexTest : public testing::TestWithParam<PrefixIndexKind> {
 protected:
  void start(uint32_t pages) {
    auto store = PageStore::create(kLayers, pages);
    ASSERT_TRUE(store.ok());
    store_ = std::make_unique<PageStore>(std::move(*store));
    index_ = GetParam().make(store_.get());
  }
  /// Goes on to `tokens`, "computing" what is missing.
  Status compute(SequenceState* state, const Tokens& tokens) {
    const auto n = uint32_t(tokens.size()) - state->length();
    VIBEE_TRY(state->reserve(n));
    for (uint32_t at = state->length(); at < tokens.size(); ++at)
      std::memcpy(store_->bytes_of(state->pages()[at / 16]).data() + at % 16 * 4, &tokens[at], 4);
    state->commit(n);
    return {};
  }
  Tokens read(const SequenceState& state) const {
    Tokens out(state.length());
    for (uint32_t at = 0; at < out.size(); ++at)
      std::memcpy(&out[at], store_->bytes_of(state.pages()[at / 16]).data() + at % 16 * 4, 4);
    return out;
  }
  void store_prompt(uint64_t space, const Tokens& tokens) {
    SequenceState s = index_->match(space, tokens);
    ASSERT_TRUE(compute(&s, tokens).ok());
    index_->insert(space, tokens, s);
  }
  std::unique_ptr<PageStore> store_;
  std::unique_ptr<PrefixIndex> index_;
};

size_t common(const Tokens& a, const Tokens& b) {
  return size_t(std::mismatch(a.begin(), a.begin() + ptrdiff_t(std::min(a.size(), b.size())), b.begin()).first -
                a.begin());
}

TEST_P(PrefixIndexTest, FindsTheLongestPrefixAndItsPagesHoldIt) {
  start(4000);
  RandomStream random(1, Purpose::test);
  std::vector<Tokens> all;
  for (int i = 0; i < 120; ++i) {
    Tokens t;
    if (!all.empty() && random.below(4)) {
      t = all[random.below(uint32_t(all.size()))];
      t.resize(1 + random.below(uint32_t(t.size())));
    }
    for (uint32_t n = 1 + random.below(70); n > 0; --n) t.push_back(int32_t(random.below(3)));
    size_t longest = 0;
    for (const Tokens& other : all) longest = std::max(longest, common(t, other));
    SequenceState s = index_->match(0, t);
    EXPECT_LE(s.length(), longest);
    EXPECT_GE(s.length(), longest / 16 * 16);  // an index of whole pages may stop there
    if (GetParam().id == "radix") {
      EXPECT_EQ(s.length(), longest);
    }
    EXPECT_EQ(read(s), Tokens(t.begin(), t.begin() + s.length()));
    EXPECT_EQ(index_->match(1, t).length(), 0u);  // another space
    ASSERT_TRUE(compute(&s, t).ok());
    index_->insert(0, t, s);
    all.push_back(t);
  }
  EXPECT_GT(index_->evictable(), 0u);
  index_->clear();
  EXPECT_EQ(store_->free_pages(), store_->pages());
}

TEST_P(PrefixIndexTest, RunningSequencesPublishAsTheyGo) {
  start(100);
  Tokens t(70);
  for (size_t i = 0; i < t.size(); ++i) t[i] = int32_t(i);
  SequenceState leader = index_->match(0, t);
  for (const size_t n : {5u, 16u, 23u, 48u, 70u}) {
    const Tokens part(t.begin(), t.begin() + ptrdiff_t(n));
    ASSERT_TRUE(compute(&leader, part).ok());
    index_->insert(0, part, leader);
    const SequenceState follower = index_->match(0, t);
    EXPECT_GE(follower.length(), n / 16 * 16);
    EXPECT_EQ(read(follower), Tokens(t.begin(), t.begin() + follower.length()));
  }
  EXPECT_EQ(read(leader), t);
}

TEST_P(PrefixIndexTest, UnderPressurePagesComeBackAndWhatIsFoundIsRight) {
  start(40);
  RandomStream random(2, Purpose::test);
  std::vector<std::pair<SequenceState, Tokens>> live;
  uint64_t found = 0;
  for (int i = 0; i < 4000; ++i) {
    if (live.size() > 3 || (!live.empty() && random.below(3) == 0)) {
      auto& one = live[random.below(uint32_t(live.size()))];
      EXPECT_EQ(read(one.first), one.second);
      index_->insert(0, one.second, one.first);
      std::swap(live.back(), one);
      live.pop_back();
      continue;
    }
    Tokens t;
    for (uint32_t n = 1 + random.below(90), base = random.below(3); n > 0; --n) t.push_back(int32_t(base));
    for (uint32_t n = 1 + random.below(20); n > 0; --n) t.push_back(int32_t(random.below(2)));
    SequenceState s = index_->match(0, t);
    found += s.length();
    EXPECT_EQ(read(s), Tokens(t.begin(), t.begin() + s.length()));
    const uint32_t need = s.pages_for(uint32_t(t.size()) - s.length());
    while (store_->free_pages() < need && index_->evict()) {
    }
    if (store_->free_pages() < need) {
      EXPECT_EQ(index_->evictable(), 0u);  // only what is in use stays
      continue;
    }
    ASSERT_TRUE(compute(&s, t).ok());
    live.emplace_back(std::move(s), std::move(t));
  }
  EXPECT_GT(found, 10000u);
  EXPECT_GT(index_->evicted(), 100u);
  live.clear();
  const uint32_t left = index_->evictable();
  EXPECT_EQ(left + store_->free_pages(), store_->pages());
  for (uint32_t i = 0; i < left; ++i) EXPECT_TRUE(index_->evict());
  EXPECT_FALSE(index_->evict());
  EXPECT_EQ(store_->free_pages(), store_->pages());
}

TEST_P(PrefixIndexTest, EveryPageThatIsCountedComesBack) {
  start(100);
  Tokens a(64, 1), b(96, 1);  // b goes on where a ends, but has computed all of it itself
  b.back() = 2;
  SequenceState first(store_.get()), second(store_.get());
  ASSERT_TRUE(compute(&first, a).ok());
  ASSERT_TRUE(compute(&second, b).ok());
  index_->insert(0, a, first);
  index_->insert(0, b, second);
  first.truncate(0);  // a's pages are nobody's, what continues them is b's
  const uint32_t counted = index_->evictable();
  EXPECT_EQ(counted, 4u);
  for (uint32_t i = 0; i < counted; ++i) EXPECT_TRUE(index_->evict()) << i;
  EXPECT_EQ(read(second), b);
  second.truncate(0);
  index_->clear();
  EXPECT_EQ(store_->free_pages(), store_->pages());
}

INSTANTIATE_TEST_SUITE_P(All, PrefixIndexTest, testing::ValuesIn(prefix_index_kinds()),
                         [](const auto& row) { return std::string(row.param.id); });

TEST(MakePrefixIndex, KnowsItsKinds) {
  auto store = PageStore::create(kLayers, 1);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(*make_prefix_index("off", &*store), nullptr);
  EXPECT_EQ(make_prefix_index("trie", &*store).status().code(), Code::invalid);
}

}  // namespace
}  // namespace vibee
