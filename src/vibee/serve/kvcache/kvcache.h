// SPDX-License-Identifier: Apache-2.0
// What is kept of sequences that were computed once, so that the next one with the same beginning need not be. An index
// owns pages of the PageStore beside the sequences that use them; a page that only the index owns is free memory of the
// future: it is evicted on demand, never ahead of need. Whatever an index gives is exact: the same tokens at the same
// positions have the same keys and values, byte for byte (docs/architecture.md, "How bytes stay equal").
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/state/page_store.h"

namespace vibee {

class DiskTier;

class PrefixIndex {
 public:
  explicit PrefixIndex(PageStore* store) : store_(store), held_(store->pages()) {}
  virtual ~PrefixIndex() = default;
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// A sequence that shares the pages of the longest stored prefix of `tokens`; of length 0 when there is none.
  /// Sequences of different spaces never meet: a space is an adapter, or somebody's salt.
  SequenceState match(uint64_t space, std::span<const int32_t> tokens);
  /// Publishes `tokens`, which are the first ones of `state`. Positions in a page that is still being written may be
  /// published too: whoever writes next copies that page first.
  void insert(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state);
  /// Continues what match() gave with pages of the tier below, while loading is no slower than computing rows of
  /// `row_seconds` (0: not known), and publishes them. Takes the pages that computing would have taken.
  void load(uint64_t space, std::span<const int32_t> tokens, double row_seconds, SequenceState* state);
  /// What is published goes on to a tier, which outlives the index; null: none.
  void set_tier(DiskTier* tier) { tier_ = tier; }
  /// Gives one page back to the store, the one that was of least use; false when every page is in use.
  virtual bool evict() = 0;
  /// Forgets everything; also what an operation that ran out of memory half-way has left.
  virtual void clear() = 0;

  bool holds(uint32_t page) const { return held_[page]; }
  /// A run of stored tokens and what it continues, for those who watch.
  struct Run {
    int32_t parent = -1;  ///< index of the run that it continues; -1: it begins a text
    uint32_t tokens = 0;
    uint64_t used = 0;  ///< the larger, the later
  };
  /// At most so many of them, parents before children; empty where an index keeps no runs.
  virtual std::vector<Run> runs(size_t most) const { return {}; }
  /// Pages that evict() can still give back.
  uint32_t evictable() const;
  /// Pages given back so far.
  uint64_t evicted() const { return evicted_; }

 protected:
  /// Pages of the longest stored prefix into `pages`; its length.
  virtual uint32_t find(uint64_t space, std::span<const int32_t> tokens, std::vector<uint32_t>* pages) = 0;
  /// As insert(); an index of whole pages takes those.
  virtual void add(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) = 0;
  void hold(uint32_t page);
  void drop(uint32_t page);
  /// Whatever is held, also when add() or evict() was left half-way.
  void drop_all();
  uint32_t page_count() const { return uint32_t(held_.size()); }
  bool in_use(uint32_t page) const { return store_->owners(page) > 1; }
  uint64_t evicted_ = 0;

 private:
  PageStore* store_;
  DiskTier* tier_ = nullptr;
  std::vector<bool> held_;  // by this index; it owns a page once
  std::vector<uint32_t> found_;
};

/// A row of `--prefix`.
struct PrefixIndexKind {
  std::string_view id;  ///< as the user writes it
  std::string_view technique;
  std::unique_ptr<PrefixIndex> (*make)(PageStore*);
};
std::span<const PrefixIndexKind> prefix_index_kinds();
/// Null for "off".
Result<std::unique_ptr<PrefixIndex>> make_prefix_index(std::string_view id, PageStore* store);

}  // namespace vibee
