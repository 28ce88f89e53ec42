// SPDX-License-Identifier: Apache-2.0
// Memory of sequences: one arena of pages of 16 positions, each page holding keys and values of all layers, with owner
// counts. A page with several owners is copied before it is written. SequenceState is a sequence's view: reserve,
// truncate, fork, snapshot.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/status/status.h"
#include "vibee/kernels/attention/batch.h"

namespace vibee {

/// Where a store's pages lie that are not memory of the host.
class PageMemory {
 public:
  virtual ~PageMemory() = default;
  virtual Status clear(uint32_t page) = 0;
  virtual Status copy(uint32_t to, uint32_t from) = 0;
};

class PageStore {
 public:
  /// `pages` pages for layers of these layouts; memory is taken at once.
  static Result<PageStore> create(std::span<const KvLayout> layers, uint32_t pages);
  /// The same of pages that lie elsewhere: the store counts their owners. No views(), no bytes_of().
  static PageStore over(std::unique_ptr<PageMemory> memory, std::span<const KvLayout> layers, uint32_t pages);
  static uint64_t page_bytes(std::span<const KvLayout> layers);

  uint32_t pages() const { return uint32_t(owners_.size()); }
  uint32_t free_pages() const { return uint32_t(free_.size()); }
  uint64_t page_bytes() const { return page_bytes_; }
  /// Bytes of all pages, without the kKvSlack behind them.
  uint64_t bytes() const { return uint64_t(pages()) * page_bytes_; }
  std::span<const KvView> views() const { return views_; }
  uint32_t owners(uint32_t page) const { return owners_[page]; }

  /// A zeroed page with one owner; Code::no_memory when none is free. What the memory refuses leaves it free.
  Result<uint32_t> allocate();
  void retain(uint32_t page) { ++owners_[page]; }
  void release(uint32_t page);
  /// A page of the same content that only the caller owns: `page` itself if it already is one.
  Result<uint32_t> writable(uint32_t page);
  std::span<uint8_t> bytes_of(uint32_t page) const {
    VIBEE_CHECK(memory_ == nullptr, "page {} is not memory of the host", page);
    return {arena_.data() + page * page_bytes_, page_bytes_};
  }

 private:
  void free_all(uint32_t pages);

  HugeBuffer arena_;
  std::unique_ptr<PageMemory> memory_;  ///< null: the arena
  uint64_t page_bytes_ = 0;
  std::vector<KvView> views_;
  std::vector<uint32_t> owners_, free_;
};

/// The stored tokens of one sequence. Moves only; releases its pages when destroyed. The store outlives it.
class SequenceState {
 public:
  explicit SequenceState(PageStore* store) : store_(store) {}
  SequenceState(SequenceState&& other) noexcept { *this = std::move(other); }
  SequenceState& operator=(SequenceState&& other) noexcept;
  ~SequenceState() { truncate(0); }

  uint32_t length() const { return length_; }
  const uint32_t* pages() const { return pages_.data(); }
  uint32_t page_count() const { return uint32_t(pages_.size()); }
  /// Room for `n` more tokens: pages exist and are owned by this sequence alone where they will be written.
  Status reserve(uint32_t n);
  /// The next `n` reserved tokens were written.
  void commit(uint32_t n);
  /// Keeps the first `n` tokens and releases pages beyond them.
  void truncate(uint32_t n);
  /// Another sequence with the same tokens; pages are shared until one of the two writes.
  SequenceState fork() const;
  /// A sequence of `length` tokens on pages that somebody owns; it owns them too.
  static SequenceState share(PageStore* store, std::span<const uint32_t> pages, uint32_t length);
  /// Pages that reserve(n) would take from the store.
  uint32_t pages_for(uint32_t n) const;
  /// The stored bytes of all tokens, and a sequence made from them (of a store of the same layout).
  std::vector<uint8_t> snapshot() const;
  static Result<SequenceState> restore(PageStore* store, std::span<const uint8_t> bytes);

 private:
  PageStore* store_ = nullptr;
  std::vector<uint32_t> pages_;
  uint32_t length_ = 0;
};

}  // namespace vibee
