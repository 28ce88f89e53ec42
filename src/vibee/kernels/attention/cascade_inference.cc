// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/cascade_inference.h"

#include <cstring>

namespace vibee {
namespace {

constexpr uint32_t kSplitPages = kSplitKeys / kPageTokens;

uint32_t page_count(const SequenceRows& s) { return (s.first + s.rows + kPageTokens - 1) / kPageTokens; }

/// Whether two sequences have the same pages in a split that both see whole; their tables begin alike up to there.
bool share_a_split(const AttentionShape& shape, const SequenceRows& a, const SequenceRows& b) {
  const uint32_t n = std::min(page_count(a), page_count(b));
  const auto same = uint32_t(std::mismatch(a.pages, a.pages + n, b.pages).first - a.pages);
  for (uint32_t split = same / kSplitPages; split-- > 0;)
    if (sees_whole(shape, a, split) && sees_whole(shape, b, split)) return true;
  return false;
}

}  // namespace

bool same_pages(const SequenceRows& a, const SequenceRows& b, uint32_t split) {
  return std::memcmp(a.pages + split * kSplitPages, b.pages + split * kSplitPages, kSplitPages * sizeof *a.pages) == 0;
}

PrefixGroups::PrefixGroups(uint32_t max_rows) {
  members_.reserve(max_rows);
  groups_.reserve(max_rows / 2);
}

void PrefixGroups::find(const AttentionShape& shape, std::span<const SequenceRows> sequences) {
  members_.clear();
  groups_.clear();
  for (uint32_t i = 0; i < sequences.size(); ++i)  // a split that is shared takes at least as many keys
    if (sequences[i].rows == 1 && sequences[i].first + 1 >= kSplitKeys && sequences[i].pages != nullptr)
      members_.push_back(i);
  std::sort(members_.begin(), members_.end(), [&](uint32_t a, uint32_t b) {
    const SequenceRows &x = sequences[a], &y = sequences[b];
    const uint32_t n = std::min(page_count(x), page_count(y));
    const auto [at, other] = std::mismatch(x.pages, x.pages + n, y.pages);
    return at == x.pages + n ? (page_count(x) != page_count(y) ? page_count(x) < page_count(y) : a < b) : *at < *other;
  });
  for (uint32_t begin = 0, end; begin < members_.size(); begin = end) {
    end = begin + 1;
    while (end < members_.size() && share_a_split(shape, sequences[members_[end - 1]], sequences[members_[end]])) ++end;
    if (end - begin > 1) groups_.push_back({begin, end});
  }
}

uint32_t members_an_item(uint32_t members, uint32_t runs, uint32_t heads, uint32_t tile, uint32_t threads) {
  // Four items a thread: the last to finish is bound by a quarter of a share.
  const uint32_t items = threads == 1 ? 1 : std::max(1u, (4 * threads + runs - 1) / runs);
  const uint32_t stack = std::max(1u, tile / heads);
  const uint32_t share = (members + items - 1) / items;
  return std::min((share + stack - 1) / stack * stack, std::max(stack, kCascadeVectors / heads / stack * stack));
}

void attend_members(const AttentionKernel& kernel, const AttentionShape& shape, const KvView& kv, const float* q,
                    std::span<const SequenceRows> sequences, std::span<const uint32_t> members, uint32_t head,
                    uint32_t heads, FoldState* part, FoldState* state) {
  const uint32_t width = shape.heads * shape.head_dim;
  for (uint32_t i = 0; i < members.size() * heads; ++i) clear_state(shape.head_dim, &state[i]);
  AttentionShape whole = shape;  // every row of a stack sees every key of the split: nothing is masked
  whole.window = 0;
  whole.causal = false;
  each_stack(shape, sequences, members, std::max(1u, kernel.tile / heads),
             [&](uint32_t split, uint32_t first, uint32_t n) {
               const SequenceRows& s = sequences[members[first]];
               QueryTile tile{q, width, n, (split + 1) * kSplitKeys - 1, head, heads, s.pages};
               uint32_t rows[kMaxQueryTile];
               for (uint32_t i = 0; i < n; ++i) rows[i] = sequences[members[first + i]].row;
               tile.list = rows;
               if (n == 1) tile.first = last_key(shape, s, 0);
               kernel.split(n == 1 ? shape : whole, kv, tile, split, part);
               for (uint32_t i = 0; i < n * heads; ++i) kernel.fold(shape.head_dim, part[i], &state[first * heads + i]);
             });
}

}  // namespace vibee
