// SPDX-License-Identifier: Apache-2.0
// The work list of a device's attention kernels (attention_launch.h) as flat arrays, from the ragged batch of a step.
#pragma once

#include <span>
#include <vector>

#include "vibee/kernels/attention/attention.h"
#include "vibee/kernels/attention/attention_launch.h"

namespace vibee {

/// Every row of the batch and head is in one item for each split that it sees.
struct SplitItems {
  std::vector<SplitItem> items;
  std::vector<uint32_t> row_parts;  ///< of every row where its parts begin; then how many there are
  std::vector<uint32_t> pages;      ///< tables of the sequences one behind the other
  uint32_t parts() const { return row_parts.back(); }
};
/// Items of at most `tile` query vectors. Parts take heads * (head_dim + 2) floats each. Rows of no sequence, below the
/// last that has one, have no parts.
SplitItems split_items(const AttentionShape& shape, std::span<const SequenceRows> sequences, uint32_t tile);
/// The same with tables that lie elsewhere, that of sequence i from page_tables[i] on; `pages` stays empty.
SplitItems split_items(const AttentionShape& shape, std::span<const SequenceRows> sequences,
                       std::span<const uint32_t> page_tables, uint32_t tile);

}  // namespace vibee
