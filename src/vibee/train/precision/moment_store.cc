// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/moment_store.h"

#include <algorithm>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// The window: as many slots for a weight as fit, each for the largest.
struct Window {
  uint64_t slot = 0;  ///< bytes; 0: all lie in memory
  size_t slots = 0;
};

Result<Window> window_of(const MomentStore::Layout& layout, const PagedMoments& paged) {
  if (paged.bytes == 0 || layout.all() <= paged.bytes) return Window();
  const auto largest = std::max_element(layout.weights.begin(), layout.weights.end(),
                                        [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  const uint64_t slot = layout.moments * largest->bytes;
  if (slot > paged.bytes)
    return error(
        Code::invalid,
        "key 'optimiser.paged': {} bytes; the moments of {} alone take {}, and twice as much lets the disk work "
        "beside the step",
        paged.bytes, quote(largest->name, 80), slot);
  return Window{slot, std::min<size_t>(layout.weights.size(), paged.bytes / slot)};
}

}  // namespace

Result<MomentStore::Memory> MomentStore::memory(const Layout& layout, const PagedMoments& paged) {
  VIBEE_ASSIGN(const Window window, window_of(layout, paged));
  if (window.slot == 0) return Memory{layout.all(), 0};
  return Memory{window.slot * window.slots, layout.all()};
}

Result<std::unique_ptr<MomentStore>> MomentStore::create(Layout layout, const PagedMoments& paged) {
  VIBEE_ASSIGN(const Window window, window_of(layout, paged));
  std::unique_ptr<MomentStore> store(new MomentStore);
  store->layout_ = std::move(layout);
  store->slot_bytes_ = window.slot, store->slots_ = window.slots;
  const bool paging = window.slot > 0;
  VIBEE_ASSIGN(store->memory_, HugeBuffer::allocate(paging ? window.slot * window.slots : store->layout_.all()));
  if (!paging) return store;
  VIBEE_ASSIGN(store->file_, ScratchFile::create(paged.folder, store->layout_.all()));
  store->thread_ = std::make_unique<Background>();
  return store;
}

MomentStore::Place MomentStore::at(size_t i) const {
  Place place;
  for (uint32_t m = 0; m < layout_.moments; ++m)
    place.moments[m] = memory_.data() + m * layout_.bytes + layout_.weights[i].at;
  return place;
}

uint8_t* MomentStore::slot(size_t i, uint32_t m) const {
  return memory_.data() + i % slots_ * slot_bytes_ + m * layout_.weights[i].bytes;
}

Status MomentStore::each_moment(size_t i, bool write) const {
  const Layout::Weight& weight = layout_.weights[i];
  for (uint32_t m = 0; m < layout_.moments; ++m) {
    const std::span<uint8_t> bytes(slot(i, m), weight.bytes);
    const uint64_t at = m * layout_.bytes + weight.at;
    VIBEE_TRY(write ? file_.write(at, bytes) : file_.read(at, bytes));
  }
  return {};
}

void MomentStore::queue_read(size_t i) {
  thread_->add([this, i] {
    Status done = each_moment(i, false);
    const std::lock_guard lock(mutex_);
    ++read_;
    if (trouble_.ok() && !done.ok()) trouble_ = std::move(done);
    wake_.notify_all();
  });
}

void MomentStore::begin() {
  {
    const std::lock_guard lock(mutex_);
    read_ = written_ = 0;
  }
  for (size_t i = 0; i < slots_; ++i) queue_read(i);
}

Result<MomentStore::Place> MomentStore::take(size_t i) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return read_ > i || !trouble_.ok(); });
  if (!trouble_.ok()) return Status(trouble_);
  Place place;
  for (uint32_t m = 0; m < layout_.moments; ++m) place.moments[m] = slot(i, m);
  return place;
}

/// Its slot is free for a weight behind it when it is written: both are done by one thread, in this order.
void MomentStore::give(size_t i) {
  thread_->add([this, i] {
    Status done = each_moment(i, true);
    const std::lock_guard lock(mutex_);
    ++written_;
    if (trouble_.ok() && !done.ok()) trouble_ = std::move(done);
    wake_.notify_all();
  });
  if (i + slots_ < layout_.weights.size()) queue_read(i + slots_);
}

Status MomentStore::end() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return written_ == layout_.weights.size() || !trouble_.ok(); });
  return trouble_;
}

StatePart MomentStore::part(uint32_t m, std::string_view name) const {
  if (paged()) return {name, {}, &file_, m * layout_.bytes, layout_.bytes};
  return {name, {memory_.data() + m * layout_.bytes, layout_.bytes}};
}

}  // namespace vibee
