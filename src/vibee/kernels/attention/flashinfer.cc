// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/flashinfer.h"

#include <algorithm>

#include "vibee/kernels/attention/flash_decoding.h"

namespace vibee {

WorkList::WorkList(const AttentionShape& shape, uint32_t tile, uint32_t max_rows, uint32_t threads, uint32_t part_slots)
    : shape_(shape),
      tile_(tile),
      rows_a_tile_(rows_a_tile(shape, tile)),
      threads_(threads),
      part_slots_(part_slots),
      groups_(max_rows) {
  // A row alone is one item a run of heads; a cut item takes a slot for each of its splits.
  const uint32_t runs = shape.kv_heads * ((shape.group() + tile - 1) / tile);
  const size_t most = size_t(max_rows) * runs + part_slots;
  items_.reserve(most);
  order_.reserve(most);
  owner_.reserve(most);
  dealt_.resize(most);
  merges_.reserve(part_slots);
  heap_.reserve(threads);
  item_ends_.resize(threads);
  loads_.resize(threads);
  grouped_.reserve(max_rows);
}

uint64_t WorkList::cost_of(const WorkItem& item, std::span<const SequenceRows> sequences) const {
  if (item.members != 0) {
    uint64_t sum = 0;
    const auto mine = members(item);
    each_stack(shape_, sequences, mine, std::max(1u, tile_ / item.heads),
               [&](uint32_t split, uint32_t first, uint32_t n) {
                 WorkItem one{mine[first], 0, 1, item.head, item.heads, {split, split + 1}, WorkItem::kWhole};
                 sum += n == 1 ? cost_of(one, sequences) : (kSplitKeys + 16) * (n * item.heads + 2);
               });
    return sum;
  }
  // One past the last key that its last row sees.
  const uint32_t last = last_key(shape_, sequences[item.sequence], item.row + item.rows - 1) + 1;
  const uint32_t window = shape_.window ? std::min(shape_.window + item.rows - 1, last) : last;
  const uint32_t low = last - window;
  const uint32_t begin = std::max(item.splits.begin * kSplitKeys, low),
                 end = std::min(item.splits.end * kSplitKeys, last);
  // Loading a key costs about as much as two query vectors with it; an item has a fixed cost of some 16 keys.
  return (uint64_t(end > begin ? end - begin : 0) + 16) * (item.rows * item.heads + 2);
}

/// Sequences into tiles of rows and KV heads; single rows over long contexts into chunks of splits (v1691).
void WorkList::cut(std::span<const SequenceRows> sequences, const WorkOptions& options) {
  const uint32_t runs = shape_.kv_heads * ((shape_.group() + tile_ - 1) / tile_);
  DecodeWork work;
  bool decode = options.cut_keys;
  for (uint32_t i = 0; i < sequences.size(); ++i) {
    const SequenceRows& s = sequences[i];
    if (grouped_[i]) continue;
    decode &= s.rows == 1;
    const SplitRange range = visible_splits(shape_, last_key(shape_, s, 0), s.rows);
    work.items += runs * ((s.rows + rows_a_tile_ - 1) / rows_a_tile_);
    work.splits += uint64_t(range.end - range.begin) * runs;
    work.most_splits = std::max(work.most_splits, range.end - range.begin);
  }
  const uint32_t chunk = decode && work.splits <= part_slots_ ? splits_a_chunk(work, threads_) : 0;
  uint32_t slots = 0;
  for (uint32_t i = 0; i < sequences.size(); ++i) {
    const SequenceRows& s = sequences[i];
    if (grouped_[i]) continue;
    for (uint32_t row = 0; row < s.rows; row += rows_a_tile_)
      each_head_run(shape_, tile_, [&](uint32_t head, uint32_t heads) {
        const uint32_t rows = std::min(rows_a_tile_, s.rows - row);
        const SplitRange range = visible_splits(shape_, last_key(shape_, s, row), rows);
        if (chunk == 0 || range.end - range.begin <= chunk) {
          items_.push_back({i, row, rows, head, heads, range, WorkItem::kWhole});
          return;
        }
        merges_.push_back({i, row, head, heads, range.end - range.begin, slots});
        for (uint32_t begin = range.begin; begin < range.end; begin += chunk) {
          const uint32_t end = std::min(begin + chunk, range.end);
          items_.push_back({i, row, rows, head, heads, {begin, end}, slots});
          slots += end - begin;
        }
      });
  }
}

/// Longest first to the thread with the least so far (Graham 1969): no thread ends later than the mean and one item.
void WorkList::deal(std::span<const SequenceRows> sequences, bool balance) {
  order_.clear();
  for (uint32_t i = 0; i < items_.size(); ++i) {
    const WorkItem& item = items_[i];
    const bool again = i > 0 && item.members != 0 && item.members == items_[i - 1].members &&
                       item.heads == items_[i - 1].heads;  // another head of the same members
    order_.push_back({again ? order_.back().cost : cost_of(item, sequences), i});
  }
  if (balance)
    std::sort(order_.begin(), order_.end(),
              [](const Order& a, const Order& b) { return a.cost != b.cost ? a.cost > b.cost : a.item < b.item; });
  const auto later = [](const Load& a, const Load& b) { return a.cost != b.cost ? a.cost > b.cost : a.tid > b.tid; };
  heap_.clear();
  for (uint32_t t = 0; t < threads_; ++t) heap_.push_back({0, t});
  std::fill(item_ends_.begin(), item_ends_.end(), 0);
  std::fill(loads_.begin(), loads_.end(), 0);
  owner_.clear();
  for (uint32_t i = 0; i < order_.size(); ++i) {
    uint32_t tid = i % threads_;
    if (balance) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      heap_.back().cost += order_[i].cost;
      tid = heap_.back().tid;
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
    owner_.push_back(tid);
    loads_[tid] += order_[i].cost;
    ++item_ends_[tid];
  }
  for (uint32_t t = 1; t < threads_; ++t) item_ends_[t] += item_ends_[t - 1];
  // From the back, so that each thread's items stay in the order they were dealt.
  for (uint32_t i = uint32_t(order_.size()); i-- > 0;) dealt_[--item_ends_[owner_[i]]] = items_[order_[i].item];
  for (uint32_t t = 0; t + 1 < threads_; ++t) item_ends_[t] = item_ends_[t + 1];
  item_ends_[threads_ - 1] = uint32_t(order_.size());
}

/// Groups into blocks of members and runs of heads.
void WorkList::stack(std::span<const SequenceRows> sequences) {
  const uint32_t runs = shape_.kv_heads * ((shape_.group() + tile_ - 1) / tile_);
  const auto all = uint32_t(groups_.groups().size()) * runs;
  for (const PrefixGroups::Group& group : groups_.groups()) {
    const uint32_t block =
        members_an_item(group.end - group.begin, all, std::min(shape_.group(), tile_), tile_, threads_);
    for (uint32_t begin = group.begin; begin < group.end; begin += block) {
      const uint32_t end = std::min(begin + block, group.end);
      for (uint32_t i = begin; i < end; ++i) grouped_[groups_.members()[i]] = true;
      each_head_run(shape_, tile_, [&](uint32_t head, uint32_t heads) {
        items_.push_back({0, 0, end - begin, head, heads, {0, 0}, WorkItem::kWhole, begin + 1});
      });
    }
  }
}

void WorkList::divide(std::span<const SequenceRows> sequences, const WorkOptions& options, bool cascade) {
  items_.clear();
  merges_.clear();
  grouped_.assign(sequences.size(), false);
  if (cascade) stack(sequences);
  cut(sequences, options);
  deal(sequences, options.balance);
}

void WorkList::plan(std::span<const SequenceRows> sequences, const WorkOptions& options) {
  divide(sequences, options, false);
  if (options.cascade == Cascade::off) return;
  groups_.find(shape_, sequences);
  if (groups_.groups().empty()) return;
  const uint64_t apart = longest();
  divide(sequences, options, true);
  if (options.cascade == Cascade::automatic && longest() >= apart) divide(sequences, options, false);
}

}  // namespace vibee
