// SPDX-License-Identifier: Apache-2.0
// v1692 flashinfer (Ye et al., MLSys 2025, arXiv:2501.01005), its plan/run division: once a step the work of a ragged,
// paged batch is cut into items and dealt to the threads by cost, longest first; every layer of the same window then
// runs that list. Which thread takes which item never shows in the bytes.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "vibee/base/thread/team.h"
#include "vibee/kernels/attention/attention.h"
#include "vibee/kernels/attention/cascade_inference.h"

namespace vibee {

/// A tile of rows of one sequence and heads that share a KV head, over some of their splits; or sequences of one row
/// each that share pages (v1675).
struct WorkItem {
  static constexpr uint32_t kWhole = UINT32_MAX;
  uint32_t sequence, row, rows, head, heads;  ///< row: inside the sequence
  SplitRange splits;
  uint32_t part;         ///< slot of its first split's part; kWhole: covers all splits and writes its rows
  uint32_t members = 0;  ///< above 0: `rows` of members() from this - 1 on, instead of `sequence`
};

/// Heads of a row whose parts lie in the slots from `part` on, one a split, to be folded in order.
struct MergeItem {
  uint32_t sequence, row, head, heads, splits, part;
};

/// Whether rows that share pages are one item (v1675): where that ends earlier by counted cost, or wherever they do.
enum class Cascade : uint8_t { off, automatic, always };  // off with `--disable cascade_inference`

struct WorkOptions {
  bool balance = true;   ///< deal by cost; else item i goes to thread i mod threads (`--disable flashinfer`)
  bool cut_keys = true;  ///< v1691 (`--disable flash_decoding`)
  Cascade cascade = Cascade::automatic;
};

class WorkList {
 public:
  /// Room for steps of `max_rows` rows; `tile` query vectors a call of the kernel; `part_slots` slots of
  /// min(group, tile) fold states exist for cut items.
  WorkList(const AttentionShape& shape, uint32_t tile, uint32_t max_rows, uint32_t threads, uint32_t part_slots);
  /// Divides one step. Allocates nothing.
  void plan(std::span<const SequenceRows> sequences, const WorkOptions& options);

  uint32_t part_slots() const { return part_slots_; }
  /// Whether attention of that shape may run this list.
  bool serves(const AttentionShape& s) const { return same_division(s, shape_); }
  std::span<const WorkItem> items(uint32_t tid) const { return slice(dealt_, item_ends_, tid); }
  std::span<const MergeItem> merges(uint32_t tid) const {
    const Range r = share(uint32_t(merges_.size()), tid, threads_);
    return std::span(merges_).subspan(r.begin, r.end - r.begin);
  }
  /// True when a barrier must stand between items and merges.
  bool has_merges() const { return !merges_.empty(); }
  /// Sequences that items with `members` are of.
  std::span<const uint32_t> members() const { return groups_.members(); }
  std::span<const uint32_t> members(const WorkItem& item) const {
    return groups_.members().subspan(item.members - 1, item.rows);
  }
  /// Cost of the items of a thread, in keys times query vectors.
  uint64_t cost(uint32_t tid) const { return loads_[tid]; }
  uint64_t cost_of(const WorkItem& item, std::span<const SequenceRows> sequences) const;

 private:
  static std::span<const WorkItem> slice(const std::vector<WorkItem>& all, const std::vector<uint32_t>& ends,
                                         uint32_t tid) {
    const uint32_t begin = tid == 0 ? 0 : ends[tid - 1];
    return std::span(all).subspan(begin, ends[tid] - begin);
  }
  void divide(std::span<const SequenceRows> sequences, const WorkOptions& options, bool cascade);
  void cut(std::span<const SequenceRows> sequences, const WorkOptions& options);
  void stack(std::span<const SequenceRows> sequences);
  uint64_t longest() const { return *std::max_element(loads_.begin(), loads_.end()); }
  void deal(std::span<const SequenceRows> sequences, bool balance);

  struct Order {
    uint64_t cost;
    uint32_t item;
  };
  struct Load {
    uint64_t cost;
    uint32_t tid;
  };
  AttentionShape shape_;
  uint32_t tile_, rows_a_tile_, threads_, part_slots_;
  std::vector<WorkItem> items_, dealt_;
  std::vector<MergeItem> merges_;
  std::vector<Order> order_;
  std::vector<Load> heap_;
  std::vector<uint32_t> owner_, item_ends_;
  std::vector<uint64_t> loads_;
  PrefixGroups groups_;
  std::vector<bool> grouped_;  ///< sequences whose rows are in items of groups
};

/// Where the queries of a step lie and where its outputs go.
struct BatchQueries {
  const AttentionKernel& kernel;
  const AttentionShape& shape;
  const KvView& kv;
  std::span<const SequenceRows> sequences;
  const float* q;    ///< [row][heads][head_dim]
  FoldState* parts;  ///< part_slots x min(group, tile), shared by the threads
  /// Takes what has more query vectors than the kernel's tile, where the list was made for its own.
  const AttentionKernel* many = nullptr;
  const AttentionKernel& kernel_for(uint32_t vectors) const { return many && vectors > kernel.tile ? *many : kernel; }
};

/// The share of thread `tid`: `write(row of the batch, head, state)` for every query vector it finishes; `barrier()`
/// waits for all threads, once, when items were cut.
template <class Barrier, class Write>
void run_work(const WorkList& list, const BatchQueries& b, uint32_t tid, Barrier&& barrier, Write&& write) {
  const AttentionShape& shape = b.shape;
  const uint32_t slot = std::min(shape.group(), b.kernel.tile), width = shape.heads * shape.head_dim;
  FoldState part[kMaxQueryTile], state[kCascadeVectors];
  for (const WorkItem& item : list.items(tid)) {
    if (item.members != 0) {
      const auto members = list.members(item);
      attend_members(b.kernel_for(item.heads), shape, b.kv, b.q, b.sequences, members, item.head, item.heads, part,
                     state);
      for (uint32_t i = 0; i < members.size() * item.heads; ++i)
        write(b.sequences[members[i / item.heads]].row, item.head + i % item.heads, state[i]);
      continue;
    }
    const SequenceRows& s = b.sequences[item.sequence];
    const QueryTile tile{b.q + uint64_t(s.row + item.row) * width,
                         width,
                         item.rows,
                         last_key(shape, s, item.row),
                         item.head,
                         item.heads,
                         s.pages};
    if (item.part == WorkItem::kWhole) {
      attend(b.kernel_for(item.rows * item.heads), shape, b.kv, tile, part, state);
      for (uint32_t i = 0; i < item.rows * item.heads; ++i)
        write(s.row + item.row + i / item.heads, item.head + i % item.heads, state[i]);
      continue;
    }
    for (uint32_t split = item.splits.begin; split < item.splits.end; ++split)
      b.kernel.split(shape, b.kv, tile, split, b.parts + uint64_t(item.part + split - item.splits.begin) * slot);
  }
  if (!list.has_merges()) return;
  barrier();
  for (const MergeItem& merge : list.merges(tid))
    for (uint32_t i = 0; i < merge.heads; ++i) {
      clear_state(shape.head_dim, state);
      for (uint32_t split = 0; split < merge.splits; ++split)
        b.kernel.fold(shape.head_dim, b.parts[uint64_t(merge.part + split) * slot + i], state);
      write(b.sequences[merge.sequence].row + merge.row, merge.head + i, state[0]);
    }
}

}  // namespace vibee
