// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/prefix_caching.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <utility>

namespace vibee {
namespace {

uint64_t random_word() {
  static std::random_device device;
  return uint64_t(device()) << 32 | device();
}

}  // namespace

HashIndex::HashIndex(PageStore* store, uint64_t mask)
    : PrefixIndex(store), hash_(random_word(), random_word()), mask_(mask) {
  entries_.reserve(store->pages() + 16);  // and some spaces
  entries_.resize(store->pages());
  buckets_.assign(std::bit_ceil(size_t(store->pages()) + 1), kNone);
}

Hash128 HashIndex::name_of(const Hash128& before, std::span<const int32_t> tokens) const {
  uint8_t message[sizeof(Hash128) + sizeof(PageTokens)];
  std::memcpy(message, &before, sizeof before);
  std::memcpy(message + sizeof before, tokens.data(), sizeof(PageTokens));
  const Hash128 h = hash_(message);
  return {h.low & mask_, h.high & mask_};
}

uint32_t HashIndex::lookup(const Hash128& name, uint32_t parent, std::span<const int32_t> tokens) const {
  uint32_t page = buckets_[name.low & (buckets_.size() - 1)];
  for (; page != kNone; page = entries_[page].chained) {
    const Entry& e = entries_[page];
    if (e.name == name && e.parent == parent && std::memcmp(e.tokens.data(), tokens.data(), sizeof e.tokens) == 0)
      break;
  }
  return page;
}

uint32_t HashIndex::make_root(uint64_t space) {
  const auto [root, fresh] = roots_.try_emplace(space, 0);
  if (!fresh) return root->second;
  if (free_roots_.empty()) {
    root->second = uint32_t(entries_.size());
    entries_.emplace_back();
  } else {
    root->second = free_roots_.back();
    free_roots_.pop_back();
  }
  Entry& e = entries_[root->second];
  e = Entry{};
  uint8_t message[8];
  std::memcpy(message, &space, 8);
  e.name = hash_(message);
  return root->second;
}

uint32_t HashIndex::find(uint64_t space, std::span<const int32_t> tokens, std::vector<uint32_t>* pages) {
  const auto root = roots_.find(space);
  if (root == roots_.end()) return 0;
  uint32_t parent = root->second, length = 0;
  Hash128 name = entries_[parent].name;
  for (; tokens.size() - length >= kPageTokens; length += kPageTokens) {
    const auto own = tokens.subspan(length, kPageTokens);
    name = name_of(name, own);
    const uint32_t page = lookup(name, parent, own);
    if (page == kNone) break;
    pages->push_back(page);
    parent = page;
  }
  const auto rest = tokens.subspan(length, std::min<size_t>(kPageTokens, tokens.size() - length));
  uint32_t best = kNone, most = 0, looked = 0;
  for (uint32_t child = entries_[parent].first_child; child != kNone && looked < kSiblings && most < rest.size();
       child = entries_[child].next, ++looked) {
    const auto same =
        uint32_t(std::mismatch(rest.begin(), rest.end(), entries_[child].tokens.begin()).first - rest.begin());
    if (same > most) best = child, most = same;
  }
  if (most > 0) pages->push_back(best);
  touch(*pages);
  return length + most;
}

void HashIndex::add(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) {
  if (tokens.size() < kPageTokens) return;
  uint32_t parent = make_root(space);
  Hash128 name = entries_[parent].name;
  path_.clear();
  for (uint32_t i = 0; i < tokens.size() / kPageTokens; ++i) {
    const auto own = tokens.subspan(size_t(i) * kPageTokens, kPageTokens);
    name = name_of(name, own);
    uint32_t page = lookup(name, parent, own);
    if (page == kNone) {
      page = state.pages()[i];
      link(page, name, parent, own);
    }
    path_.push_back(page);
    parent = page;
  }
  touch(path_);
}

void HashIndex::link(uint32_t page, const Hash128& name, uint32_t parent, std::span<const int32_t> tokens) {
  hold(page);
  Entry &e = entries_[page], &p = entries_[parent];
  e = Entry{};
  e.name = name;
  std::copy(tokens.begin(), tokens.end(), e.tokens.begin());
  e.parent = parent;
  e.next = p.first_child;
  if (e.next != kNone) entries_[e.next].previous = page;
  p.first_child = page;
  e.chained = std::exchange(bucket(name), page);
  make_newest(page);
  ++count_;
}

/// Takes out a page that nothing continues.
void HashIndex::remove(uint32_t page) {
  const Entry& e = entries_[page];
  uint32_t* at = &bucket(e.name);
  while (*at != page) at = &entries_[*at].chained;
  *at = e.chained;
  (e.previous == kNone ? entries_[e.parent].first_child : entries_[e.previous].next) = e.next;
  if (e.next != kNone) entries_[e.next].previous = e.previous;
  unlink_order(page);
  --count_;
  if (const uint32_t root = e.parent; root >= page_count() && entries_[root].first_child == kNone) {
    std::erase_if(roots_, [&](const auto& entry) { return entry.second == root; });
    free_roots_.push_back(root);
  }
  evicted_ += !in_use(page);
  drop(page);
}

void HashIndex::unlink_order(uint32_t page) {
  const Entry& e = entries_[page];
  (e.older == kNone ? oldest_ : entries_[e.older].newer) = e.newer;
  (e.newer == kNone ? newest_ : entries_[e.newer].older) = e.older;
}

void HashIndex::make_newest(uint32_t page) {
  Entry& e = entries_[page];
  e.older = newest_;
  e.newer = kNone;
  (newest_ == kNone ? oldest_ : entries_[newest_].newer) = page;
  newest_ = page;
}

/// From the end to the beginning, so that the end is the older one.
void HashIndex::touch(std::span<const uint32_t> path) {
  for (size_t i = path.size(); i-- > 0;) {
    unlink_order(path[i]);
    make_newest(path[i]);
  }
}

bool HashIndex::evict() {
  for (size_t n = count_; n > 0; --n) {
    const uint32_t page = oldest_;
    if (!in_use(page) && entries_[page].first_child == kNone) {
      remove(page);
      return true;
    }
    unlink_order(page);  // in use, or what continues it is: that is a use too
    make_newest(page);
  }
  // A page of nobody may still be continued by pages in use, of a sequence that computed the same tokens itself. They
  // go too: nothing finds them without it.
  uint32_t page = oldest_;
  while (page != kNone && in_use(page)) page = entries_[page].newer;
  if (page == kNone) return false;
  for (uint32_t last = kNone; last != page;) {
    last = page;
    while (entries_[last].first_child != kNone) last = entries_[last].first_child;
    remove(last);
  }
  return true;
}

void HashIndex::clear() {
  drop_all();
  entries_.assign(page_count(), Entry{});
  std::fill(buckets_.begin(), buckets_.end(), kNone);
  roots_.clear();
  free_roots_.clear();
  oldest_ = newest_ = kNone;
  count_ = 0;
}

size_t HashIndex::bytes() const { return entries_.capacity() * sizeof(Entry) + buckets_.capacity() * 4; }

}  // namespace vibee
