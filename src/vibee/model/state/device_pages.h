// SPDX-License-Identifier: Apache-2.0
// Pages of sequences in the memory of a device.
#pragma once

#include "vibee/core/device/device_pool.h"
#include "vibee/graph/device/device_plan.h"
#include "vibee/model/state/page_store.h"

namespace vibee {

class DevicePages : public PageMemory {
 public:
  ~DevicePages() override;
  /// What they take of a pool.
  static uint64_t bytes(std::span<const KvLayout> layers, uint32_t pages) {
    return DevicePool::taken(PageStore::page_bytes(layers) * pages + kKvSlack);
  }
  /// Memory is taken at once; work on it is in the order of the runtime's stream.
  static Result<std::unique_ptr<DevicePages>> create(std::shared_ptr<DeviceRuntime> runtime, DevicePool& pool,
                                                     std::span<const KvLayout> layers, uint32_t pages);
  std::span<const DeviceKv> views() const { return views_; }
  Status clear(uint32_t page) override;
  Status copy(uint32_t to, uint32_t from) override;

 private:
  DevicePages() = default;
  CudaAddress at(uint32_t page) const { return block_.address() + page * page_bytes_; }
  std::shared_ptr<DeviceRuntime> runtime_;
  DeviceBlock block_;
  uint64_t page_bytes_ = 0;
  std::vector<DeviceKv> views_;
};

}  // namespace vibee
