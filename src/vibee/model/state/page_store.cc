// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/state/page_store.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/memory/checked.h"

namespace vibee {

uint64_t PageStore::page_bytes(std::span<const KvLayout> layers) {
  uint64_t sum = 0;
  for (const KvLayout& l : layers) sum += l.layer_bytes();
  return round_up(sum, 64);
}

Result<PageStore> PageStore::create(std::span<const KvLayout> layers, uint32_t pages) {
  PageStore s;
  s.page_bytes_ = page_bytes(layers);
  const auto total = checked_mul(s.page_bytes_, pages);
  if (!total || *total > UINT64_MAX - kKvSlack)
    return error(Code::no_memory, "{} pages of {} bytes exceed the address space", pages, s.page_bytes_);
  VIBEE_ASSIGN(s.arena_, HugeBuffer::allocate(*total + kKvSlack));
  uint64_t offset = 0;
  for (const KvLayout& l : layers) {
    s.views_.push_back({s.arena_.data() + offset, s.page_bytes_, l});
    offset += l.layer_bytes();
  }
  s.free_all(pages);
  return s;
}

PageStore PageStore::over(std::unique_ptr<PageMemory> memory, std::span<const KvLayout> layers, uint32_t pages) {
  PageStore s;
  s.memory_ = std::move(memory);
  s.page_bytes_ = page_bytes(layers);
  s.free_all(pages);
  return s;
}

void PageStore::free_all(uint32_t pages) {
  owners_.assign(pages, 0);
  free_.reserve(pages);
  for (uint32_t p = pages; p-- > 0;) free_.push_back(p);
}

Result<uint32_t> PageStore::allocate() {
  if (free_.empty())
    return error(Code::no_memory, "all {} KV pages ({} tokens) are in use; use a larger --batch, or fewer sequences at once", pages(), uint64_t(pages()) * kPageTokens);
  const uint32_t page = free_.back();
  if (memory_) {
    VIBEE_TRY(memory_->clear(page));
  } else {
    std::memset(arena_.data() + page * page_bytes_, 0, page_bytes_);
  }
  free_.pop_back();
  owners_[page] = 1;
  return page;
}

void PageStore::release(uint32_t page) {
  VIBEE_CHECK(owners_[page] > 0, "page {}", page);
  if (--owners_[page] == 0) free_.push_back(page);
}

Result<uint32_t> PageStore::writable(uint32_t page) {
  if (owners_[page] == 1) return page;
  VIBEE_ASSIGN(const uint32_t copy, allocate());
  if (memory_) {
    Status copied = memory_->copy(copy, page);
    if (!copied.ok()) {
      release(copy);
      return copied;
    }
  } else {
    std::memcpy(arena_.data() + copy * page_bytes_, arena_.data() + page * page_bytes_, page_bytes_);
  }
  release(page);
  return copy;
}

SequenceState& SequenceState::operator=(SequenceState&& other) noexcept {
  std::swap(store_, other.store_);
  std::swap(pages_, other.pages_);
  std::swap(length_, other.length_);
  return *this;
}

Status SequenceState::reserve(uint32_t n) {
  if (n == 0) return {};
  if (length_ % kPageTokens != 0) {
    VIBEE_ASSIGN(pages_[length_ / kPageTokens], store_->writable(pages_[length_ / kPageTokens]));
  }
  const uint32_t wanted = (length_ + n + kPageTokens - 1) / kPageTokens;
  const auto had = uint32_t(pages_.size());
  if (pages_.capacity() < wanted) pages_.reserve(std::max(wanted, 2 * had));  // before there is a page to lose
  while (pages_.size() < wanted) {
    auto page = store_->allocate();
    if (!page.ok()) {
      while (pages_.size() > had) {
        store_->release(pages_.back());
        pages_.pop_back();
      }
      return page.take_status();
    }
    pages_.push_back(*page);
  }
  return {};
}

void SequenceState::commit(uint32_t n) {
  length_ += n;
  VIBEE_CHECK(length_ <= pages_.size() * kPageTokens, "length {}", length_);
}

void SequenceState::truncate(uint32_t n) {
  VIBEE_CHECK(n <= length_ || n == 0, "{} of {}", n, length_);
  const uint32_t keep = (n + kPageTokens - 1) / kPageTokens;
  while (pages_.size() > keep) {
    store_->release(pages_.back());
    pages_.pop_back();
  }
  length_ = n;
}

SequenceState SequenceState::fork() const {
  SequenceState copy(store_);
  const uint32_t used = (length_ + kPageTokens - 1) / kPageTokens;
  copy.pages_.assign(pages_.begin(), pages_.begin() + used);
  copy.length_ = length_;
  for (uint32_t page : copy.pages_) store_->retain(page);
  return copy;
}

SequenceState SequenceState::share(PageStore* store, std::span<const uint32_t> pages, uint32_t length) {
  VIBEE_CHECK(pages.size() == (length + kPageTokens - 1) / kPageTokens, "{} pages, {} tokens", pages.size(), length);
  SequenceState s(store);
  s.pages_.assign(pages.begin(), pages.end());
  s.length_ = length;
  for (uint32_t page : s.pages_) store->retain(page);
  return s;
}

uint32_t SequenceState::pages_for(uint32_t n) const {
  if (n == 0) return 0;
  const bool copies = length_ % kPageTokens != 0 && store_->owners(pages_[length_ / kPageTokens]) > 1;
  const uint32_t wanted = (length_ + n + kPageTokens - 1) / kPageTokens;
  return copies + (wanted > pages_.size() ? wanted - uint32_t(pages_.size()) : 0);
}

std::vector<uint8_t> SequenceState::snapshot() const {
  std::vector<uint8_t> out(4);
  std::memcpy(out.data(), &length_, 4);
  for (uint32_t i = 0; i < (length_ + kPageTokens - 1) / kPageTokens; ++i) {
    const auto bytes = store_->bytes_of(pages_[i]);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

Result<SequenceState> SequenceState::restore(PageStore* store, std::span<const uint8_t> bytes) {
  SequenceState s(store);
  uint32_t length = 0;
  if (bytes.size() < 4) return error(Code::corrupt, "snapshot of {} bytes is too short", bytes.size());
  std::memcpy(&length, bytes.data(), 4);
  const uint64_t page = store->pages() ? store->bytes_of(0).size() : 0;
  if (bytes.size() - 4 != (uint64_t(length) + kPageTokens - 1) / kPageTokens * page)
    return error(Code::corrupt, "snapshot of {} tokens has {} bytes, pages are {}", length, bytes.size(), page);
  VIBEE_TRY(s.reserve(length));
  for (uint32_t i = 0; i < s.pages_.size(); ++i) {
    const auto to = store->bytes_of(s.pages_[i]);
    std::memcpy(to.data(), bytes.data() + 4 + i * page, page);
  }
  s.commit(length);
  return s;
}

}  // namespace vibee
