// SPDX-License-Identifier: Apache-2.0
// The adapters of one model in memory, of the host or of the device that its sessions compute on. Their places are
// taken once, each for the largest rank, so that loading one never runs out of memory; who holds an adapter keeps it,
// and its place is free when nobody does.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "vibee/core/device/cuda_device.h"
#include "vibee/kernels/pointwise/lora.h"
#include "vibee/model/adapter/adapter_file.h"

namespace vibee {

struct LoraLimits {
  uint32_t adapters = 0;  ///< at once; 0: graphs take no adapters
  uint32_t rank = 16;     ///< of each, at most
};
/// At most 1024 adapters of rank 1 to 1024.
Status check(const LoraLimits& limits);

class LoraPlaces;

class LoraAdapter {
 public:
  ~LoraAdapter();
  /// One a product of the graph; of a pool on a device, where matrices are there.
  std::span<const LoraWeights> weights() const { return weights_; }
  /// Hex SHA-256 of what it computes: its matrices and scales.
  const std::string& digest() const { return digest_; }
  /// What is computed with it is kept apart under this number (serve/kvcache); never 0.
  uint64_t space() const { return space_; }

 private:
  friend class LoraPool;
  std::shared_ptr<LoraPlaces> places_;
  uint32_t place_ = 0;
  std::vector<LoraWeights> weights_;
  std::string digest_;
  uint64_t space_ = 0;
};

class LoraPool {
 public:
  /// Bytes that a pool takes, of the host or of the device.
  static uint64_t bytes(std::span<const AdaptedProduct> products, const LoraLimits& limits);
  static Result<std::unique_ptr<LoraPool>> create(const ModelConfig& base, std::vector<AdaptedProduct> products,
                                                  const LoraLimits& limits,
                                                  const std::shared_ptr<CudaDevice>& device = nullptr);
  /// Reads an adapter into a free place; `scale` multiplies its own. Code::no_memory when every place is taken. May be
  /// called by any thread, while steps run.
  Result<std::shared_ptr<const LoraAdapter>> load(const std::string& path, float scale = 1);
  bool owns(const LoraAdapter& adapter) const { return adapter.places_ == places_; }
  const LoraLimits& limits() const { return limits_; }

 private:
  LoraPool(const ModelConfig& base, std::vector<AdaptedProduct> products, const LoraLimits& limits)
      : base_(base), products_(std::move(products)), limits_(limits) {}

  ModelConfig base_;
  std::vector<AdaptedProduct> products_;
  LoraLimits limits_;
  std::shared_ptr<LoraPlaces> places_;
};

}  // namespace vibee
