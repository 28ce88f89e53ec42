// SPDX-License-Identifier: Apache-2.0
// Memory of a device: one block that is taken from the driver when the pool is made and given back with it, so that
// what a plan states beforehand is what it takes, and nothing that runs is refused memory because of another process.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "vibee/core/device/cuda_device.h"

namespace vibee {

class DevicePool;

/// Bytes of a pool, given back with the object. Empty: address 0, no bytes.
class DeviceBlock {
 public:
  DeviceBlock() = default;
  DeviceBlock(DeviceBlock&& other) noexcept { *this = std::move(other); }
  DeviceBlock& operator=(DeviceBlock&& other) noexcept {
    std::swap(pool_, other.pool_), std::swap(offset_, other.offset_), std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBlock();
  CudaAddress address() const;
  uint64_t bytes() const { return bytes_; }

 private:
  friend class DevicePool;
  std::shared_ptr<DevicePool> pool_;
  uint64_t offset_ = 0, bytes_ = 0;
};

/// Threads may share one. What was given back is handed out anew at once: work that still uses it is on the same stream
/// as the work that comes, or before it by an event. The last owner of a pool or of a block of it has synchronised the
/// streams that use it.
class DevicePool : public std::enable_shared_from_this<DevicePool> {
 public:
  static constexpr uint64_t kAlignment = 256;  ///< of addresses; what cuMemAlloc gives, and enough for TMA
  /// What a block of `bytes` takes.
  static constexpr uint64_t taken(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  /// `bytes` of the device, to the byte what the driver is asked for; `no_memory` says what was wanted and what is
  /// free.
  static Result<std::shared_ptr<DevicePool>> create(std::shared_ptr<CudaDevice> device, uint64_t bytes);
  ~DevicePool();
  DevicePool(const DevicePool&) = delete;

  /// The smallest free range that is large enough; its contents are whatever was there.
  Result<DeviceBlock> take(uint64_t bytes);
  const std::shared_ptr<CudaDevice>& device() const { return device_; }
  CudaAddress address() const { return address_; }
  uint64_t size() const { return size_; }
  uint64_t used() const;
  uint64_t peak() const;

 private:
  friend class DeviceBlock;
  DevicePool() = default;
  void give_back(uint64_t offset) noexcept;

  std::shared_ptr<CudaDevice> device_;
  CudaAddress address_ = 0;
  uint64_t size_ = 0, used_ = 0, peak_ = 0;
  mutable std::mutex mutex_;
  /// Where ranges begin, with their bytes, free or not: giving back changes a range and needs no memory.
  struct Range {
    uint64_t bytes = 0;
    bool free = true;
  };
  std::map<uint64_t, Range> ranges_;
};

}  // namespace vibee
