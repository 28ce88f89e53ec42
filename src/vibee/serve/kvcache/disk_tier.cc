// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/disk_tier.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/digest.h"

namespace vibee {
namespace {

constexpr uint64_t kQueueBytes = 64 << 20;  // copies that wait for the disk

PageName name_of(std::span<const uint8_t> bytes) {
  const std::array<uint8_t, 32> digest = sha256_of(bytes);
  PageName name;
  std::copy_n(digest.begin(), name.size(), name.begin());
  return name;
}

/// The name of `before` followed by `bytes`.
template <size_t N>
PageName follow(const PageName& before, const void* bytes) {
  uint8_t message[sizeof before + N];
  std::memcpy(message, before.data(), sizeof before);
  std::memcpy(message + sizeof before, bytes, N);
  return name_of(message);
}

}  // namespace

Result<std::unique_ptr<DiskTier>> DiskTier::open(const DiskTierConfig& config, PageStore* store) {
  const uint64_t page_bytes = store->page_bytes();
  const uint32_t pages = (config.context + kPageTokens - 1) / kPageTokens;
  const uint64_t least = slot_offset(page_bytes, pages);
  if (config.limit < least)
    return error(Code::invalid,
                 "{}: {} MiB do not hold the {} pages of one sequence; allow {} MiB, or use a smaller --ctx",
                 quote(config.folder, 400), config.limit >> 20, pages, (least >> 20) + 1);
  const PageLogShape shape{name_of({reinterpret_cast<const uint8_t*>(config.model.data()), config.model.size()}),
                           page_bytes};
  VIBEE_ASSIGN(auto log, PageLog::open(config.folder, config.limit, shape, config.label));
  return std::unique_ptr<DiskTier>(new DiskTier(std::move(log), shape.root, store));
}

DiskTier::DiskTier(std::unique_ptr<PageLog> log, const PageName& root, PageStore* store)
    : log_(std::move(log)), root_(root), store_(store), writer_([this] { write_pages(); }) {}

DiskTier::~DiskTier() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

std::vector<PageKey> DiskTier::keys(uint64_t space, std::span<const int32_t> tokens) const {
  std::vector<PageKey> out(tokens.size() / kPageTokens);
  PageName before = follow<sizeof space>(root_, &space);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].parent = before;
    std::copy_n(&tokens[i * kPageTokens], kPageTokens, out[i].tokens.begin());
    before = out[i].name = follow<sizeof out[i].tokens>(before, out[i].tokens.data());
  }
  return out;
}

void DiskTier::publish(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) {
  const std::vector<PageKey> all = keys(space, tokens);
  for (size_t i = 0; i < all.size(); ++i) {
    if (log_->has(all[i].name)) continue;
    const std::lock_guard guard(mutex_);
    if (queued_.contains(all[i].name)) continue;
    const auto bytes = store_->bytes_of(state.pages()[i]);
    if (!stats_.error.ok() || (queue_.size() + 1) * bytes.size() > std::max(kQueueBytes, bytes.size())) {
      ++stats_.skipped;  // it is published again when its sequence ends, or goes on
      continue;
    }
    const auto entry = queued_.insert(all[i].name).first;
    try {
      queue_.push_back({all[i], {bytes.begin(), bytes.end()}});
    } catch (const std::bad_alloc&) {
      queued_.erase(entry);  // flush() would wait for it
      throw;
    }
  }
  changed_.notify_all();
  // From the end, so that the segment of the beginning was used last: an end without it is of no use.
  for (size_t i = all.size(); i-- > 0;) log_->touch(all[i].name);
}

void DiskTier::write_pages() {
  ::pthread_setname_np(::pthread_self(), "vibee disk");
  std::unique_lock guard(mutex_);
  for (;;) {
    changed_.wait(guard, [&] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Page page = std::move(queue_.front());
    queue_.pop_front();
    const bool refused = !stats_.error.ok();
    guard.unlock();
    bool written = false;
    Status failed;
    try {
      if (!refused) failed = log_->append(page.key, page.bytes);
      written = !refused && failed.ok();
    } catch (const std::bad_alloc&) {  // this page alone
    }
    guard.lock();
    queued_.erase(page.key.name);
    ++(written ? stats_.written : stats_.skipped);
    if (!failed.ok()) stats_.error = std::move(failed);
    changed_.notify_all();
  }
}

void DiskTier::flush() {
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [&] { return queued_.empty(); });
}

void DiskTier::load(uint64_t space, std::span<const int32_t> tokens, double row_seconds,
                    const std::function<bool()>& evict, SequenceState* state) {
  const std::vector<PageKey> all = keys(space, tokens);
  for (size_t i = state->length() / kPageTokens; i < all.size() && log_->has(all[i].name); ++i) {
    state->truncate(uint32_t(i) * kPageTokens);  // rows that only begin like the page to come
    while (store_->free_pages() == 0)
      if (!evict()) return;
    const auto begin = std::chrono::steady_clock::now();
    if (!state->reserve(kPageTokens).ok()) return;
    if (!log_->read(all[i], store_->bytes_of(state->pages()[i]))) {
      state->truncate(state->length());
      return;
    }
    state->commit(kPageTokens);
    const std::lock_guard guard(mutex_);
    ++stats_.loaded;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (row_seconds > 0 && took.count() > row_seconds * kPageTokens) return;
  }
}

DiskTierStats DiskTier::stats() const {
  const std::lock_guard guard(mutex_);
  DiskTierStats s = stats_;
  s.log = log_->stats();
  return s;
}

}  // namespace vibee
