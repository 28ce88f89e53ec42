// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/device_pool.h"

#include <algorithm>

namespace vibee {

Result<std::shared_ptr<DevicePool>> DevicePool::create(std::shared_ptr<CudaDevice> device, uint64_t bytes) {
  std::shared_ptr<DevicePool> out(new DevicePool);
  out->device_ = std::move(device), out->size_ = bytes;
  if (bytes == 0) return out;
  CudaDevice& d = *out->device_;
  VIBEE_ASSIGN(const CudaDevice::Memory memory, d.memory());
  if (bytes > memory.free)
    return error(Code::no_memory, "{}: a pool of {} bytes is wanted, {} of {} bytes are free", d.label(), bytes,
                 memory.free, memory.total);
  VIBEE_TRY(d.call(
      d.driver().memory_alloc, [&] { return fmt::format("a pool of {} bytes", bytes); }, &out->address_, bytes));
  out->ranges_[0] = {bytes, true};
  return out;
}

DevicePool::~DevicePool() {
  if (address_) device_->release(device_->driver().memory_free, address_);
}

Result<DeviceBlock> DevicePool::take(uint64_t bytes) {
  DeviceBlock out;
  if (bytes == 0) return out;
  std::lock_guard lock(mutex_);
  auto best = ranges_.end();
  uint64_t largest = 0;
  for (auto at = ranges_.begin(); at != ranges_.end(); ++at) {
    if (!at->second.free) continue;
    largest = std::max(largest, at->second.bytes);
    if (at->second.bytes >= bytes && (best == ranges_.end() || at->second.bytes < best->second.bytes)) best = at;
  }
  if (best == ranges_.end())
    return error(Code::no_memory,
                 "{}: {} bytes are wanted of a pool of {}, of which {} are used; the largest free range has {}",
                 device_->label(), bytes, size_, used_, largest);
  const uint64_t offset = best->first, range = best->second.bytes;
  const uint64_t mine = std::min(taken(bytes), range);  // the pool's last bytes may be fewer than the alignment
  if (mine < range) ranges_[offset + mine] = {range - mine, true};
  best->second = {mine, false};
  used_ += mine, peak_ = std::max(peak_, used_);
  out.pool_ = shared_from_this(), out.offset_ = offset, out.bytes_ = bytes;
  return out;
}

void DevicePool::give_back(uint64_t offset) noexcept {
  std::lock_guard lock(mutex_);
  auto at = ranges_.find(offset);
  used_ -= at->second.bytes;
  at->second.free = true;
  const auto merge = [&](auto left, auto right) {
    left->second.bytes += right->second.bytes;
    ranges_.erase(right);
  };
  if (auto next = std::next(at); next != ranges_.end() && next->second.free) merge(at, next);
  if (at != ranges_.begin() && std::prev(at)->second.free) merge(std::prev(at), at);
}

uint64_t DevicePool::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

uint64_t DevicePool::peak() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

DeviceBlock::~DeviceBlock() {
  if (pool_) pool_->give_back(offset_);
}

CudaAddress DeviceBlock::address() const { return pool_ ? pool_->address() + offset_ : 0; }

}  // namespace vibee
