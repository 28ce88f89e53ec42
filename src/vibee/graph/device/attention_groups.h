// SPDX-License-Identifier: Apache-2.0
// The work of a step's attention on a device. Every row leaves a part for each split of 256 keys that it sees until the
// fold, so rows go through in groups whose parts fit the memory that the plan states; a row's bytes do not depend on
// its group.
#pragma once

#include <span>
#include <vector>

#include "vibee/kernels/attention/attention.h"
#include "vibee/kernels/attention/attention_launch.h"

namespace vibee {

/// Rows [row, row + rows) of a step. Numbers in its items count from `row`.
struct AttentionGroup {
  uint32_t row, rows;
  uint32_t first_item, items;  ///< in the list's items
  uint32_t first_part;         ///< in the list's row_parts, of which it has rows + 1
};

class AttentionGroups {
 public:
  struct Limits {
    uint32_t rows, sequences, context;
    uint64_t part_bytes;
  };
  AttentionGroups(const AttentionShape& shape, uint32_t tile, const Limits& limits);
  const AttentionShape& shape() const { return shape_; }
  uint32_t tile() const { return tile_; }
  uint32_t slots() const { return slots_; }  ///< parts of a row and all heads that there is room for
  uint64_t sums_bytes() const { return uint64_t(slots_) * shape_.heads * 2 * sizeof(float); }
  uint64_t values_bytes() const { return uint64_t(slots_) * shape_.heads * shape_.head_dim * sizeof(float); }
  uint32_t max_items() const { return max_items_; }
  uint32_t max_row_parts() const { return 2 * max_rows_; }

  /// The step's work; `page_tables` says where each sequence's begins. Sequences have their rows one behind the other.
  void plan(std::span<const SequenceRows> sequences, std::span<const uint32_t> page_tables);
  std::span<const AttentionGroup> groups() const { return groups_; }
  std::span<const SplitItem> items() const { return items_; }
  std::span<const uint32_t> row_parts() const { return row_parts_; }

 private:
  void close(uint32_t row, uint32_t rows);

  AttentionShape shape_;
  uint32_t tile_, slots_, max_rows_, max_items_;
  std::vector<AttentionGroup> groups_;
  std::vector<SplitItem> items_;
  std::vector<uint32_t> row_parts_;
  std::vector<SequenceRows> group_;  ///< that is being filled
  std::vector<uint32_t> tables_;
};

}  // namespace vibee
