// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/host_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace vibee {
namespace {

constexpr size_t kZone = 256;  // bytes at least, on both sides
constexpr std::byte kRed{0xA5}, kFresh{0xCD}, kFreed{0xDD};

}  // namespace

std::string HostMemory::name(const Block& block) const {
  return fmt::format("{} block {} of {} bytes", kind_, block.number, block.bytes);
}

void* HostMemory::allocate(size_t bytes) {
  Block block;
  block.storage.assign(bytes + 3 * kZone, kRed);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(block.storage.data());
  block.offset = (begin + 2 * kZone - 1) / kZone * kZone - begin;
  block.bytes = bytes, block.number = blocks_.size();
  std::fill_n(block.storage.data() + block.offset, bytes, kFresh);
  used_ += bytes;
  const uintptr_t address = begin + block.offset;
  blocks_.emplace(address, std::move(block));
  return reinterpret_cast<void*>(address);
}

void HostMemory::check_zones(Block& block) {
  const auto differs = [&](size_t from, size_t to, std::byte expected) {
    for (size_t i = from; i < to; ++i)
      if (block.storage[i] != expected) return int64_t(i) - int64_t(block.offset);
    return INT64_MAX;
  };
  const size_t end = block.offset + block.bytes;
  const int64_t before = differs(0, block.offset, kRed), behind = differs(end, block.storage.size(), kRed);
  for (int64_t at : {before, behind})
    if (at != INT64_MAX) problems_.push_back(fmt::format("{}: written at offset {}, outside", name(block), at));
  if (!block.freed) return;
  if (const int64_t at = differs(block.offset, end, kFreed); at != INT64_MAX)
    problems_.push_back(fmt::format("{}: written at offset {} after it was freed", name(block), at));
}

bool HostMemory::free(void* address) {
  const auto found = blocks_.find(reinterpret_cast<uintptr_t>(address));
  if (found == blocks_.end() || found->second.freed) {
    problems_.push_back(found == blocks_.end() ? fmt::format("free of {}, where no {} block begins", address, kind_)
                                               : fmt::format("{}: freed twice", name(found->second)));
    return false;
  }
  Block& block = found->second;
  check_zones(block);
  std::fill_n(block.storage.begin(), block.offset, kRed);
  std::fill_n(block.storage.data() + block.offset, block.bytes, kFreed);
  std::fill(block.storage.begin() + std::ptrdiff_t(block.offset + block.bytes), block.storage.end(), kRed);
  block.freed = true, used_ -= block.bytes;
  return true;
}

bool HostMemory::check(const std::string& what, uintptr_t address, size_t bytes) {
  auto found = blocks_.upper_bound(address);
  if (found != blocks_.begin()) {
    const Block& block = (--found)->second;
    const uintptr_t offset = address - found->first;
    if (offset <= block.bytes && bytes <= block.bytes - offset && !block.freed) return true;
    if (offset < block.bytes + kZone) {
      problems_.push_back(fmt::format("{}: {} bytes at offset {} of {}{}", what, bytes, offset, name(block),
                                      block.freed ? ", which is freed" : ""));
      return false;
    }
  }
  problems_.push_back(fmt::format("{}: {} bytes at {:#x} are in no {} block", what, bytes, address, kind_));
  return false;
}

std::vector<std::span<std::byte>> HostMemory::live() const {
  std::vector<std::span<std::byte>> out;
  for (const auto& [address, block] : blocks_)
    if (!block.freed) out.push_back({reinterpret_cast<std::byte*>(address), block.bytes});
  return out;
}

std::vector<std::string> HostMemory::problems() {
  for (auto& [address, block] : blocks_) {
    check_zones(block);
    if (!block.freed) problems_.push_back(fmt::format("{}: never freed", name(block)));
  }
  blocks_.clear(), used_ = 0;
  return std::exchange(problems_, {});
}

}  // namespace vibee
