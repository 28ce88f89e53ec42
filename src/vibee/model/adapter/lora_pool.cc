// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/adapter/lora_pool.h"

#include <charconv>
#include <cmath>

#include "vibee/base/memory/checked.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/pinned_ring.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

constexpr uint64_t kAlign = 64;

uint64_t place_bytes(std::span<const AdaptedProduct> products, uint32_t rank) {
  uint64_t sum = 0;
  for (const AdaptedProduct& p : products)
    sum += round_up(uint64_t(p.k) * rank * 4, kAlign) + round_up(uint64_t(p.n) * rank * 4, kAlign);
  return sum;
}

template <class T>
std::span<const uint8_t> bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

std::string digest_of(const AdapterFile& file, float scale) {
  Digest digest;
  for (const auto& [tensor, m] : file.matrices) {
    digest.update(tensor);
    const uint32_t sizes[] = {0, m.k, m.n, m.rank};
    const float scales[] = {scale, m.scale};
    digest.update(bytes_of(std::span<const uint32_t>(sizes)));
    digest.update(bytes_of(std::span<const float>(scales)));
    digest.update(bytes_of(std::span<const float>(m.a)));
    digest.update(bytes_of(std::span<const float>(m.b)));
  }
  return digest.finish();
}

}  // namespace

/// The memory of all places and which are free; adapters give theirs back from whatever thread lets them go.
class LoraPlaces {
 public:
  std::mutex mutex;
  std::vector<uint32_t> free;

  Status create(uint64_t bytes, const std::shared_ptr<CudaDevice>& device) {
    if (device == nullptr) {
      VIBEE_ASSIGN(memory_, HugeBuffer::allocate(bytes));
      return {};
    }
    VIBEE_ASSIGN(pool_, DevicePool::create(device, bytes));
    VIBEE_ASSIGN(stream_, CudaStream::create(device));
    VIBEE_ASSIGN(ring_, PinnedRing::create(device, kPieceBytes, kPieces));
    return {};
  }
  /// The memory at byte `at`, as steps are given it.
  float* address(uint64_t at) {
    return pool_ ? reinterpret_cast<float*>(pool_->address() + at) : memory_.as<float>(at);
  }
  /// Fills places that nobody reads yet; each is there when its matrices are.
  struct Part {
    uint64_t at;
    std::vector<float> values;
  };
  Status fill(std::span<const Part> parts) {
    if (pool_ == nullptr) {
      for (const Part& part : parts) std::copy(part.values.begin(), part.values.end(), memory_.as<float>(part.at));
      return {};
    }
    const std::lock_guard lock(copies_);
    Status status;
    for (const Part& part : parts) {
      status = ring_.copy_in(stream_, pool_->address() + part.at, std::as_bytes(std::span(part.values)));
      if (!status.ok()) break;
    }
    const Status done = stream_.synchronize();  // also of copies before one that failed: their place may be taken again
    return status.ok() ? done : status;
  }

 private:
  static constexpr size_t kPieceBytes = size_t(1) << 20, kPieces = 2;
  HugeBuffer memory_;
  // On a device, a stream of its own: adapters are loaded while steps run.
  std::shared_ptr<DevicePool> pool_;
  std::mutex copies_;
  CudaStream stream_;
  PinnedRing ring_;
};

Status check(const LoraLimits& limits) {
  if (limits.adapters > 1024) return error(Code::invalid, "--max-loras {}: at most 1024", limits.adapters);
  if (limits.rank == 0 || limits.rank > 1024)
    return error(Code::invalid, "--max-lora-rank {} is not in 1 to 1024", limits.rank);
  return {};
}

LoraAdapter::~LoraAdapter() {
  if (places_ == nullptr) return;
  const std::lock_guard lock(places_->mutex);
  places_->free.push_back(place_);
}

uint64_t LoraPool::bytes(std::span<const AdaptedProduct> products, const LoraLimits& limits) {
  return place_bytes(products, limits.rank) * limits.adapters;
}

Result<std::unique_ptr<LoraPool>> LoraPool::create(const ModelConfig& base, std::vector<AdaptedProduct> products,
                                                   const LoraLimits& limits,
                                                   const std::shared_ptr<CudaDevice>& device) {
  VIBEE_TRY(check(limits));
  const uint64_t size = bytes(products, limits);
  if (device == nullptr && size > available_memory())
    return error(
        Code::no_memory,
        "{} adapters of rank {} take {} MiB, {} MiB are available; use a smaller --max-loras or --max-lora-rank",
        limits.adapters, limits.rank, size >> 20, available_memory() >> 20);
  std::unique_ptr<LoraPool> pool(new LoraPool(base, std::move(products), limits));
  pool->places_ = std::make_shared<LoraPlaces>();
  VIBEE_TRY(pool->places_->create(size, device).within("--max-loras"));
  for (uint32_t i = limits.adapters; i-- > 0;) pool->places_->free.push_back(i);
  return pool;
}

Result<std::shared_ptr<const LoraAdapter>> LoraPool::load(const std::string& path, float scale) {
  if (!std::isfinite(scale)) return error(Code::invalid, "{}: the scale {} is no number", quote(path, 400), scale);
  VIBEE_ASSIGN(const AdapterFile file, read_adapter(path, base_, products_, limits_.rank));
  auto adapter = std::make_shared<LoraAdapter>();
  {
    const std::lock_guard lock(places_->mutex);
    if (places_->free.empty())
      return error(Code::no_memory, "{}: all {} places of adapters are taken; unload one or use a larger --max-loras",
                   quote(path, 400), limits_.adapters);
    adapter->place_ = places_->free.back();
    places_->free.pop_back();
    adapter->places_ = places_;
  }
  adapter->digest_ = digest_of(file, scale);
  std::from_chars(adapter->digest_.data(), adapter->digest_.data() + 16, adapter->space_, 16);
  adapter->space_ |= 1;
  uint64_t at = adapter->place_ * place_bytes(products_, limits_.rank);
  std::vector<LoraPlaces::Part> parts;
  for (const AdaptedProduct& p : products_) {
    const uint64_t a = at;
    at += round_up(uint64_t(p.k) * limits_.rank * 4, kAlign);
    const uint64_t b = at;
    at += round_up(uint64_t(p.n) * limits_.rank * 4, kAlign);
    const WeightPart part = weight_part(p.weight);
    const auto found = file.matrices.find(part.tensor);
    LoraWeights& w = adapter->weights_.emplace_back();
    if (found == file.matrices.end()) continue;
    const AdapterMatrix& m = found->second;
    std::vector<float> turned(uint64_t(m.rank) * p.n);
    for (uint32_t row = 0; row < p.n; ++row)
      for (uint32_t j = 0; j < m.rank; ++j)
        turned[uint64_t(j) * p.n + row] = m.b[(uint64_t(part.first) + row) * m.rank + j];
    parts.push_back({a, m.a});
    parts.push_back({b, std::move(turned)});
    w = {places_->address(a), places_->address(b), m.rank, scale * m.scale};
  }
  VIBEE_TRY(places_->fill(parts).within(quote(path, 400)));
  return std::shared_ptr<const LoraAdapter>(std::move(adapter));
}

}  // namespace vibee
