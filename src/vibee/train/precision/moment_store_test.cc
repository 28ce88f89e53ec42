// SPDX-License-Identifier: Apache-2.0
// Moments in memory and behind a window: what a step changes is what the next one and a checkpoint see.
#include "vibee/train/precision/moment_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "vibee/kit/temp_folder.h"

namespace vibee {
namespace {

MomentStore::Layout layout_of(const std::vector<uint64_t>& bytes, uint32_t moments) {
  static constexpr std::string_view kNames[] = {"a", "b", "c", "d", "e", "f", "g"};
  MomentStore::Layout layout{moments, 0, {}};
  for (const uint64_t b : bytes) {
    layout.weights.push_back({kNames[layout.weights.size()], layout.bytes, b});
    layout.bytes += b;
  }
  return layout;
}

/// A step that adds to every byte what its weight, moment and step are.
void step(MomentStore& store, const MomentStore::Layout& layout, uint32_t t) {
  if (store.paged()) store.begin();
  for (size_t i = 0; i < layout.weights.size(); ++i) {
    MomentStore::Place place;
    if (store.paged()) {
      auto taken = store.take(i);
      ASSERT_TRUE(taken.ok()) << taken.status().message();
      place = *taken;
    } else {
      place = store.at(i);
    }
    for (uint32_t m = 0; m < layout.moments; ++m)
      for (uint64_t b = 0; b < layout.weights[i].bytes; ++b)
        place.moments[m][b] = uint8_t(3 * place.moments[m][b] + 31 * i + 7 * m + t + b);
    if (store.paged()) store.give(i);
  }
  if (store.paged()) {
    ASSERT_TRUE(store.end().ok());
  }
}

std::vector<uint8_t> contents(const MomentStore& store, uint32_t moments) {
  std::vector<uint8_t> all, room;
  for (uint32_t m = 0; m < moments; ++m) {
    const StatePart part = store.part(m, "x");
    for (uint64_t at = 0; at < part.size(); at += 100) {
      auto slice = part.slice(at, std::min<uint64_t>(100, part.size() - at), &room);
      EXPECT_TRUE(slice.ok());
      all.insert(all.end(), slice->begin(), slice->end());
    }
  }
  return all;
}

TEST(MomentStore, PagedHasTheBytesOfMemory) {
  const TempFolder folder;
  for (const uint32_t moments : {1u, 2u})
    for (const std::vector<uint64_t>& bytes :
         {std::vector<uint64_t>{64, 6400, 128, 64, 3200, 64}, {64}, {640, 640, 640, 640, 640, 640, 640}}) {
      const MomentStore::Layout layout = layout_of(bytes, moments);
      auto whole = MomentStore::create(layout, {});
      ASSERT_TRUE(whole.ok());
      for (uint32_t t = 0; t < 5; ++t) step(**whole, layout, t);
      const uint64_t largest = moments * *std::max_element(bytes.begin(), bytes.end());
      for (const uint64_t window : {largest, 2 * largest, 2 * largest + 63, 3 * largest, layout.all()}) {
        auto store = MomentStore::create(layout, {window, folder.path()});
        ASSERT_TRUE(store.ok()) << store.status().message();
        auto memory = MomentStore::memory(layout, {window, folder.path()});
        EXPECT_LE(memory->bytes, window);
        EXPECT_EQ((*store)->paged(), window < layout.all());
        EXPECT_EQ(memory->file, window < layout.all() ? layout.all() : 0);
        for (uint32_t t = 0; t < 3; ++t) step(**store, layout, t);
        // A checkpoint that is read back.
        for (uint32_t m = 0; m < moments; ++m) {
          const StatePart part = (*store)->part(m, "x");
          std::vector<uint8_t> room;
          auto slice = part.slice(0, part.size(), &room);
          ASSERT_TRUE(slice.ok() && part.put(0, *slice).ok());
        }
        for (uint32_t t = 3; t < 5; ++t) step(**store, layout, t);
        EXPECT_EQ(contents(**store, moments), contents(**whole, moments)) << window;
      }
    }
}

TEST(MomentStore, EndsWhileAStepGoesOn) {
  const TempFolder folder;
  const MomentStore::Layout layout = layout_of({640, 640, 640, 640}, 2);
  for (int taken = 0; taken < 4; ++taken) {
    auto store = MomentStore::create(layout, {2560, folder.path()});
    ASSERT_TRUE(store.ok());
    (*store)->begin();
    for (int i = 0; i < taken; ++i) {
      ASSERT_TRUE((*store)->take(size_t(i)).ok());
      (*store)->give(size_t(i));
    }
  }
}

TEST(MomentStore, NamesTheWeightThatDoesNotFit) {
  const auto memory = MomentStore::memory(layout_of({64, 6400, 128}, 2), {12799, "."});
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.status().message().substr(0, 72),
            "key 'optimiser.paged': 12799 bytes; the moments of \"b\" alone take 12800,");
}

}  // namespace
}  // namespace vibee
