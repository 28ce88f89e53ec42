// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/adapter/lora_pool.h"

#include <charconv>
#include <cmath>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
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
  HugeBuffer memory;
  std::vector<uint32_t> free;
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
                                                   const LoraLimits& limits) {
  VIBEE_TRY(check(limits));
  const uint64_t size = bytes(products, limits);
  if (size > available_memory())
    return error(
        Code::no_memory,
        "{} adapters of rank {} take {} MiB, {} MiB are available; use a smaller --max-loras or --max-lora-rank",
        limits.adapters, limits.rank, size >> 20, available_memory() >> 20);
  std::unique_ptr<LoraPool> pool(new LoraPool(base, std::move(products), limits));
  pool->places_ = std::make_shared<LoraPlaces>();
  VIBEE_ASSIGN(pool->places_->memory, HugeBuffer::allocate(size));
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
  for (const AdaptedProduct& p : products_) {
    auto* a = places_->memory.as<float>(at);
    at += round_up(uint64_t(p.k) * limits_.rank * 4, kAlign);
    auto* b = places_->memory.as<float>(at);
    at += round_up(uint64_t(p.n) * limits_.rank * 4, kAlign);
    const WeightPart part = weight_part(p.weight);
    const auto found = file.matrices.find(part.tensor);
    LoraWeights& w = adapter->weights_.emplace_back();
    if (found == file.matrices.end()) continue;
    const AdapterMatrix& m = found->second;
    std::copy(m.a.begin(), m.a.end(), a);
    for (uint32_t row = 0; row < p.n; ++row)
      for (uint32_t j = 0; j < m.rank; ++j) b[uint64_t(j) * p.n + row] = m.b[(uint64_t(part.first) + row) * m.rank + j];
    w = {a, b, m.rank, scale * m.scale};
  }
  return std::shared_ptr<const LoraAdapter>(std::move(adapter));
}

}  // namespace vibee
