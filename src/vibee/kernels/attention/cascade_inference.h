// SPDX-License-Identifier: Apache-2.0
// v1675 cascade_inference, its reading for attention (Ye et al., FlashInfer 2024): rows of a step whose page tables
// begin with the same pages read those pages once. The loops are interchanged: over the splits of 256 keys outside,
// over the members of a group inside, each with a fold state of its own. Where the pages of a split are the same for
// several members, and all of them see all of it, their query vectors are stacked into one call of the kernel;
// elsewhere each goes its own way in the same loop. Every row sees its splits in the order it would have seen them
// alone, so its bytes are those of no cascade, and prefixes that nest, or part at different splits, need nothing more.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "vibee/kernels/attention/attention.h"

namespace vibee {

/// Fold states of one work item, which live on the stack of its thread.
inline constexpr uint32_t kCascadeVectors = 96;

/// Rows of a step that share pages: sequences of one row each, in an order in which those with the same pages are
/// neighbours.
class PrefixGroups {
 public:
  struct Group {
    uint32_t begin, end;  ///< of members()
  };
  explicit PrefixGroups(uint32_t max_rows);
  /// Finds them; sequences of several rows are in none. Allocates nothing.
  void find(const AttentionShape& shape, std::span<const SequenceRows> sequences);
  std::span<const Group> groups() const { return groups_; }
  /// Numbers of sequences.
  std::span<const uint32_t> members() const { return members_; }

 private:
  std::vector<uint32_t> members_;
  std::vector<Group> groups_;
};

/// Members an item, so that the items of `runs` runs of heads (of all groups together) can be dealt evenly: whole tiles
/// of `heads` heads a member.
uint32_t members_an_item(uint32_t members, uint32_t runs, uint32_t heads, uint32_t tile, uint32_t threads);

/// Whether the row of a sequence of one row sees every key of a split.
inline bool sees_whole(const AttentionShape& shape, const SequenceRows& s, uint32_t split) {
  const uint32_t last = last_key(shape, s, 0), begin = split * kSplitKeys;
  return begin + kSplitKeys <= last + 1 && (shape.window == 0 || last + 1 <= begin + shape.window);
}
bool same_pages(const SequenceRows& a, const SequenceRows& b, uint32_t split);

/// f(split, first member, members): the calls of the kernel for an item of these members, at most `most` of them
/// stacked in a call.
template <class F>
void each_stack(const AttentionShape& shape, std::span<const SequenceRows> sequences, std::span<const uint32_t> members,
                uint32_t most, F&& f) {
  SplitRange all{UINT32_MAX, 0};
  for (const uint32_t m : members) {
    const SplitRange range = visible_splits(shape, last_key(shape, sequences[m], 0), 1);
    all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
  }
  for (uint32_t split = all.begin; split < all.end; ++split)
    for (uint32_t i = 0, n; i < members.size(); i += n) {
      const SequenceRows& s = sequences[members[i]];
      n = 1;
      const SplitRange range = visible_splits(shape, last_key(shape, s, 0), 1);
      if (split < range.begin || split >= range.end) continue;
      if (sees_whole(shape, s, split))
        while (n < most && i + n < members.size() && sees_whole(shape, sequences[members[i + n]], split) &&
               same_pages(s, sequences[members[i + n]], split))
          ++n;
      f(split, i, n);
    }
}

/// Attention of all members for `heads` heads from `head`: state[member * heads + i]. `q` is that of the step,
/// [row][shape.heads][head_dim].
void attend_members(const AttentionKernel& kernel, const AttentionShape& shape, const KvView& kv, const float* q,
                    std::span<const SequenceRows> sequences, std::span<const uint32_t> members, uint32_t head,
                    uint32_t heads, FoldState* part, FoldState* state);

}  // namespace vibee
