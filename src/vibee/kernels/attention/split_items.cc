// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/split_items.h"

#include <algorithm>

namespace vibee {

SplitItems split_items(const AttentionShape& shape, std::span<const SequenceRows> sequences, uint32_t tile) {
  SplitItems out;
  uint32_t rows = 0;
  for (const SequenceRows& s : sequences) rows = std::max(rows, s.row + s.rows);
  out.row_parts.assign(rows + 1, 0);
  const uint32_t most = rows_a_tile(shape, tile);
  for (const SequenceRows& s : sequences) {
    if (s.rows == 0) continue;
    const auto pages = uint32_t(out.pages.size());
    out.pages.insert(out.pages.end(), s.pages, s.pages + (s.first + s.rows + kPageTokens - 1) / kPageTokens);
    for (uint32_t row = 0; row < s.rows; ++row) {
      const SplitRange range = visible_splits(shape, last_key(shape, s, row), 1);
      out.row_parts[s.row + row + 1] = range.end - range.begin;
    }
    for (uint32_t row = 0; row < s.rows; row += most) {
      const uint32_t n = std::min(most, s.rows - row), last = last_key(shape, s, row);
      const SplitRange range = visible_splits(shape, last, n);
      for (uint32_t split = range.begin; split < range.end; ++split)
        each_head_run(shape, tile, [&](uint32_t head, uint32_t heads) {
          out.items.push_back({s.row + row, n, last, pages, head, heads, split});
        });
    }
  }
  for (uint32_t row = 0; row < rows; ++row) out.row_parts[row + 1] += out.row_parts[row];
  return out;
}

}  // namespace vibee
