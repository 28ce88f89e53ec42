// SPDX-License-Identifier: Apache-2.0
// Memory of the host that plays a device's: between red zones, filled with a pattern, kept after it was freed, so that
// what writes beside a block, into a freed one, or never frees it is found and named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace vibee {

class HostMemory {
 public:
  /// `kind`: "device" or "pinned"; in messages.
  explicit HostMemory(std::string kind) : kind_(std::move(kind)) {}
  /// At a multiple of 256; bytes of 0xCD.
  void* allocate(size_t bytes);
  /// False, with a problem, where no block begins there or it was freed before.
  bool free(void* address);
  /// False, with a problem, where the range is not inside a block that is there. `what` begins the message.
  bool check(const std::string& what, uintptr_t address, size_t bytes);
  size_t used() const { return used_; }  ///< bytes that are not freed
  std::vector<std::span<std::byte>> live() const;
  /// Problems so far, those of red zones and freed memory that are found now, and what was not freed.
  std::vector<std::string> problems();

 private:
  struct Block {
    std::vector<std::byte> storage;
    size_t offset = 0, bytes = 0;  ///< of what is handed out
    bool freed = false;
    uint64_t number = 0;
  };
  std::string name(const Block& block) const;
  void check_zones(Block& block);

  std::string kind_;
  std::map<uintptr_t, Block> blocks_;
  std::vector<std::string> problems_;
  size_t used_ = 0;
};

}  // namespace vibee
