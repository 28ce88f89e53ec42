// SPDX-License-Identifier: Apache-2.0
// A model's matrices on a device, read from its file piece by piece.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "vibee/core/device/device_pool.h"
#include "vibee/graph/device/device_runtime.h"
#include "vibee/graph/device/device_weights.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

class DeviceMatrices {
 public:
  struct Wanted {
    std::string name;  ///< of the graph's weight
    DeviceMatrix matrix;
  };
  ~DeviceMatrices();
  /// What they take of the device.
  static uint64_t bytes(std::span<const Wanted> wanted);
  static Result<std::unique_ptr<DeviceMatrices>> load(const Checkpoint& file, std::vector<Wanted> wanted,
                                                      std::shared_ptr<DeviceRuntime> runtime);
  const DeviceMatrix* find(std::string_view name) const;
  uint64_t bytes() const { return pool_->size(); }
  const std::shared_ptr<DeviceRuntime>& runtime() const { return runtime_; }

 private:
  std::shared_ptr<DeviceRuntime> runtime_;
  std::shared_ptr<DevicePool> pool_;
  std::map<std::string, DeviceMatrix, std::less<>> matrices_;
};

/// The matrices that a graph reads, as they are to lie on a device.
std::vector<DeviceMatrices::Wanted> wanted_matrices(const Graph& graph);

}  // namespace vibee
