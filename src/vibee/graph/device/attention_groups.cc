// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/device/attention_groups.h"

#include <algorithm>

#include "vibee/kernels/attention/split_items.h"

namespace vibee {

AttentionGroups::AttentionGroups(const AttentionShape& shape, uint32_t tile, const Limits& limits)
    : shape_(shape), tile_(tile), max_rows_(limits.rows) {
  // A row sees its window and what the splits at its ends have beside it.
  const uint32_t keys = shape.window ? std::min(limits.context, shape.window + kSplitKeys) : limits.context;
  const uint32_t splits = (keys + kSplitKeys - 1) / kSplitKeys + (shape.window ? 1 : 0);
  const uint64_t all = uint64_t(limits.rows) * splits, each = uint64_t(shape.heads) * (shape.head_dim + 2) * 4;
  // Rows that see one another's keys stay together.
  slots_ = shape.causal ? uint32_t(std::min(all, std::max<uint64_t>(splits, limits.part_bytes / each))) : uint32_t(all);
  const uint64_t groups = shape.causal ? all / std::max<uint64_t>(1, slots_ - splits + 1) + 1 : 1;
  const uint64_t tiles =
      std::min<uint64_t>(limits.rows, limits.rows / rows_a_tile(shape, tile) + limits.sequences + groups);
  uint32_t runs = 0;
  each_head_run(shape, tile, [&](uint32_t, uint32_t) { ++runs; });
  // Later rows of a tile may see a split more than its first.
  max_items_ = uint32_t(std::min<uint64_t>(tiles * (splits + 1) * runs, UINT32_MAX));
}

void AttentionGroups::close(uint32_t row, uint32_t rows) {
  if (rows == 0) return;
  const SplitItems work = split_items(shape_, group_, tables_, tile_);
  groups_.push_back({row, rows, uint32_t(items_.size()), uint32_t(work.items.size()), uint32_t(row_parts_.size())});
  items_.insert(items_.end(), work.items.begin(), work.items.end());
  row_parts_.insert(row_parts_.end(), work.row_parts.begin(), work.row_parts.end());
  group_.clear();
  tables_.clear();
}

void AttentionGroups::plan(std::span<const SequenceRows> sequences, std::span<const uint32_t> page_tables) {
  groups_.clear();
  items_.clear();
  row_parts_.clear();
  uint32_t begin = 0, parts = 0, row = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const SequenceRows& s = sequences[i];
    for (uint32_t r = 0; r < s.rows;) {
      // As many rows of the sequence as still fit; where they see one another, all.
      const uint32_t first = r, room = slots_ - parts;
      uint32_t taken = 0;
      while (r < s.rows) {
        const SplitRange seen = visible_splits(shape_, last_key(shape_, s, r), 1);
        if (shape_.causal && taken + seen.end - seen.begin > room) break;
        taken += seen.end - seen.begin;
        ++r;
      }
      VIBEE_CHECK(parts + taken > 0, "position {} of a context that has {} splits", s.first + r, slots_);
      if (r > first) {
        SequenceRows part = s;
        part.row = row - begin, part.rows = r - first, part.first = s.first + first;
        group_.push_back(part);
        tables_.push_back(page_tables[i]);
        row += r - first;
        parts += taken;
      }
      if (r < s.rows) {
        close(begin, row - begin);
        begin = row, parts = 0;
      }
    }
  }
  close(begin, row - begin);
}

}  // namespace vibee
