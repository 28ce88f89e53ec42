// SPDX-License-Identifier: Apache-2.0
// v1673 prefix_caching: whole pages found by the hash of all tokens up to their end (Kwon et al., vLLM, SOSP 2023). A
// page's name is SipHash(name of the page before, its 16 tokens), keyed anew in every process; the first pages of a
// space hang on an entry that stands for the space. A name only says where to look: a page is found when its own tokens
// and the page before it are the same, so that no collision can give a wrong one.
//
// Of the page after the last one found, the first tokens are often the same too; SequenceState copies that page when it
// is written, so its first rows are reused as they are. Pages go least recently used first, and none before those that
// continue it: a beginning without its end is of use, an end without its beginning is not.
#pragma once

#include <array>
#include <unordered_map>

#include "vibee/base/hash/siphash.h"
#include "vibee/serve/kvcache/kvcache.h"

namespace vibee {

class HashIndex final : public PrefixIndex {
 public:
  explicit HashIndex(PageStore* store) : HashIndex(store, ~0ull) {}
  /// Names are cut to the bits of `mask`: few of them make collisions, for tests.
  HashIndex(PageStore* store, uint64_t mask);
  ~HashIndex() override { clear(); }
  bool evict() override;
  void clear() override;

  size_t size() const { return count_; }
  /// Bytes beside the pages.
  size_t bytes() const;

 protected:
  uint32_t find(uint64_t space, std::span<const int32_t> tokens, std::vector<uint32_t>* pages) override;
  void add(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) override;

 private:
  static constexpr uint32_t kNone = ~0u;
  static constexpr uint32_t kSiblings = 64;  // that a beginning of a page is looked for in
  using PageTokens = std::array<int32_t, kPageTokens>;
  /// Entry i is of page i; those behind the last page stand for spaces and have children alone.
  struct Entry {
    Hash128 name;
    PageTokens tokens;
    uint32_t parent = kNone, first_child = kNone, next = kNone, previous = kNone;  // siblings, newest first
    uint32_t older = kNone, newer = kNone;                                         // in the order of use
    uint32_t chained = kNone;                                                      // in its bucket
  };

  Hash128 name_of(const Hash128& before, std::span<const int32_t> tokens) const;
  uint32_t lookup(const Hash128& name, uint32_t parent, std::span<const int32_t> tokens) const;
  uint32_t& bucket(const Hash128& name) { return buckets_[name.low & (buckets_.size() - 1)]; }
  uint32_t make_root(uint64_t space);
  void link(uint32_t page, const Hash128& name, uint32_t parent, std::span<const int32_t> tokens);
  void remove(uint32_t page);
  void make_newest(uint32_t page);
  void unlink_order(uint32_t page);
  void touch(std::span<const uint32_t> path);

  SipHash hash_;
  uint64_t mask_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> buckets_;
  std::unordered_map<uint64_t, uint32_t> roots_;
  std::vector<uint32_t> free_roots_, path_;
  uint32_t oldest_ = kNone, newest_ = kNone;
  size_t count_ = 0;
};

}  // namespace vibee
