// SPDX-License-Identifier: Apache-2.0
// Who shares what, and who does not.
#include "vibee/kernels/attention/cascade_inference.h"

#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {
namespace {

const AttentionShape kShape{6, 2, 32, 0.177f, 0, 0};

/// Sequences of these lengths, the last position of each new; `shared` pages are the same in all.
struct Tables {
  Tables(std::initializer_list<uint32_t> lengths, uint32_t shared) {
    uint32_t page = shared, row = 0;
    for (const uint32_t length : lengths) {
      auto& mine = pages.emplace_back();
      for (uint32_t i = 0; i * kPageTokens < length; ++i) mine.push_back(i < shared ? i : page++);
      sequences.push_back({row++, 1, length - 1, mine.data()});  // moving a vector keeps its data
    }
  }
  std::vector<std::vector<uint32_t>> pages;
  std::vector<SequenceRows> sequences;
};

TEST(PrefixGroups, AreSequencesThatShareAWholeSplit) {
  PrefixGroups groups(16);
  Tables t({700, 40, 300, 256, 900}, 20);  // 320 positions: one whole split
  groups.find(kShape, t.sequences);
  ASSERT_EQ(groups.groups().size(), 1u);
  EXPECT_EQ(groups.groups()[0].end - groups.groups()[0].begin, 4u);  // 40 has no whole split
  Tables less({700, 300, 900}, 15);
  groups.find(kShape, less.sequences);
  EXPECT_TRUE(groups.groups().empty());
}

TEST(PrefixGroups, RowsOfPromptsAndRowsPastTheWindowAreInNone) {
  PrefixGroups groups(16);
  Tables t({700, 700, 700}, 32);
  t.sequences[1].rows = 5;
  t.sequences[1].first -= 4;
  groups.find(kShape, t.sequences);
  ASSERT_EQ(groups.groups().size(), 1u);
  ASSERT_EQ(groups.members().size(), 2u);
  EXPECT_EQ(std::max(groups.members()[0], groups.members()[1]), 2u);  // and 0
  AttentionShape windowed = kShape;
  windowed.window = 445;  // the row at 699 sees 255 ..: all of the split from 256 on
  groups.find(windowed, t.sequences);
  EXPECT_EQ(groups.groups().size(), 1u);
  windowed.window = 443;  // and now 257 ..
  groups.find(windowed, t.sequences);
  EXPECT_TRUE(groups.groups().empty());
}

TEST(MembersAnItem, FillTilesAndLeaveWorkForAllThreads) {
  EXPECT_EQ(members_an_item(32, 3, 3, 12, 1), 32u);   // 96 states
  EXPECT_EQ(members_an_item(64, 3, 3, 12, 1), 32u);   // no more of them
  EXPECT_EQ(members_an_item(32, 3, 3, 12, 2), 12u);   // three blocks of three runs: nine items
  EXPECT_EQ(members_an_item(32, 32, 1, 12, 2), 36u);  // whole tiles
  EXPECT_EQ(members_an_item(5, 1, 12, 12, 16), 1u);   // a member fills a tile
  EXPECT_LE(members_an_item(4096, 1, 5, 12, 1) * 5, kCascadeVectors);
}

TEST(WorkList, StacksNestedPrefixesAndTakesTheCheaperDivision) {
  std::vector<StepSequence> what = {{900, 1}};
  for (uint32_t i = 0; i < 5; ++i) what.push_back({800 + i, 1, 768, 0});  // three splits with the first
  for (uint32_t i = 0; i < 4; ++i) what.push_back({600 + i, 1, 512, 1});  // two, by way of the second
  const StoredStep step(kShape, KvFormat::f16, what, 1);
  const AttentionKernel& kernel = attention_kernel(KvFormat::f16, detected_isa());
  WorkList list(kShape, kernel.tile, step.rows(), 1, 0);
  const auto calls = [&](Cascade cascade) {
    list.plan(step.sequences(), {true, true, cascade});
    uint64_t n = 0;
    for (const WorkItem& item : list.items(0)) {
      if (item.members == 0) {
        n += item.splits.end - item.splits.begin;
      } else {
        each_stack(kShape, step.sequences(), list.members(item), std::max(1u, kernel.tile / item.heads),
                   [&](uint32_t, uint32_t, uint32_t) { ++n; });
      }
    }
    return n;
  };
  const uint64_t apart = calls(Cascade::off), stacked = calls(Cascade::always);
  EXPECT_EQ(apart, 2u * (4 + 5 * 4 + 4 * 3));
  if (kernel.tile == 12) {  // four members a call
    // Splits 0 and 1: ten members in three calls; 2: six in two, and four alone; 3: six alone.
    EXPECT_EQ(stacked, 2u * (3 + 3 + 2 + 4 + 6));
  }
  EXPECT_EQ(calls(Cascade::automatic), std::min(apart, stacked));
}

}  // namespace
}  // namespace vibee
