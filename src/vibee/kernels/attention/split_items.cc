// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/split_items.h"

#include <algorithm>

namespace vibee {

SplitItems split_items(const AttentionShape& shape, std::span<const SequenceRows> sequences, uint32_t tile) {
  std::vector<uint32_t> pages, tables;
  for (const SequenceRows& s : sequences) {
    tables.push_back(uint32_t(pages.size()));
    if (s.rows == 0) continue;  // and may have no pages
    pages.insert(pages.end(), s.pages, s.pages + (s.first + s.rows + kPageTokens - 1) / kPageTokens);
  }
  SplitItems out = split_items(shape, sequences, tables, tile);
  out.pages = std::move(pages);
  return out;
}

SplitItems split_items(const AttentionShape& shape, std::span<const SequenceRows> sequences,
                       std::span<const uint32_t> page_tables, uint32_t tile) {
  SplitItems out;
  uint32_t rows = 0;
  for (const SequenceRows& s : sequences) rows = std::max(rows, s.row + s.rows);
  out.row_parts.assign(rows + 1, 0);
  const uint32_t most = rows_a_tile(shape, tile);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const SequenceRows& s = sequences[i];
    for (uint32_t row = 0; row < s.rows; ++row) {
      const SplitRange range = visible_splits(shape, last_key(shape, s, row), 1);
      out.row_parts[s.row + row + 1] = range.end - range.begin;
    }
    for (uint32_t row = 0; row < s.rows; row += most) {
      const uint32_t n = std::min(most, s.rows - row), last = last_key(shape, s, row);
      const SplitRange range = visible_splits(shape, last, n);
      for (uint32_t split = range.begin; split < range.end; ++split)
        each_head_run(shape, tile, [&](uint32_t head, uint32_t heads) {
          out.items.push_back({s.row + row, n, last, page_tables[i], head, heads, split});
        });
    }
  }
  for (uint32_t row = 0; row < rows; ++row) out.row_parts[row + 1] += out.row_parts[row];
  return out;
}

}  // namespace vibee
