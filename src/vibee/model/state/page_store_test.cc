// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/state/page_store.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

const KvLayout kLayers[] = {{KvFormat::f32, 2, 8}, {KvFormat::f16, 1, 32}};

TEST(PageStore, ForkCopiesOnWriteAndNothingLeaks) {
  auto store = PageStore::create(kLayers, 8);
  ASSERT_TRUE(store.ok());
  {
    SequenceState a(&*store);
    ASSERT_TRUE(a.reserve(20).ok());
    a.commit(20);
    EXPECT_EQ(store->free_pages(), 6u);
    store->bytes_of(a.pages()[1])[5] = 77;
    SequenceState b = a.fork();
    EXPECT_EQ(store->free_pages(), 6u);
    EXPECT_EQ(store->owners(a.pages()[1]), 2u);
    ASSERT_TRUE(b.reserve(1).ok());  // the half-full page is copied, the full one stays shared
    EXPECT_EQ(a.pages()[0], b.pages()[0]);
    EXPECT_NE(a.pages()[1], b.pages()[1]);
    EXPECT_EQ(store->bytes_of(b.pages()[1])[5], 77);
    b.commit(1);
    b.truncate(16);
    EXPECT_EQ(b.page_count(), 1u);
    auto bytes = a.snapshot();
    auto c = SequenceState::restore(&*store, bytes);
    ASSERT_TRUE(c.ok());
    EXPECT_EQ(c->snapshot(), bytes);
    EXPECT_EQ(c->length(), 20u);
    bytes.pop_back();
    EXPECT_FALSE(SequenceState::restore(&*store, bytes).ok());
  }
  EXPECT_EQ(store->free_pages(), 8u);
}

TEST(PageStore, FullStoreRefusesAndKeepsWhatWasThere) {
  auto store = PageStore::create(kLayers, 3);
  ASSERT_TRUE(store.ok());
  SequenceState a(&*store);
  ASSERT_TRUE(a.reserve(32).ok());
  a.commit(32);
  EXPECT_EQ(a.reserve(17).code(), Code::no_memory);
  EXPECT_EQ(store->free_pages(), 1u);
  EXPECT_TRUE(a.reserve(16).ok());
}

TEST(PageStore, RandomOperationsConservePages) {
  auto store = PageStore::create(kLayers, 64);
  ASSERT_TRUE(store.ok());
  RandomStream random(9, Purpose::test);
  std::vector<SequenceState> live;
  for (int step = 0; step < 5000; ++step) {
    const uint32_t what = random.below(4);
    if (live.empty() || what == 0) {
      live.emplace_back(&*store);
    } else {
      const uint32_t i = random.below(uint32_t(live.size()));
      if (what == 1) {
        const uint32_t n = 1 + random.below(40);
        if (live[i].reserve(n).ok()) live[i].commit(n);
      } else if (what == 2) {
        live[i].truncate(random.below(live[i].length() + 1));
      } else if (random.below(2)) {
        live.push_back(live[i].fork());
      } else {
        live.erase(live.begin() + i);
      }
    }
    uint64_t owned = 0, counted = 0;
    for (const auto& s : live) owned += s.page_count();
    for (uint32_t p = 0; p < store->pages(); ++p) counted += store->owners(p);
    ASSERT_EQ(owned, counted);
  }
  live.clear();
  EXPECT_EQ(store->free_pages(), 64u);
}

}  // namespace
}  // namespace vibee
