// SPDX-License-Identifier: Apache-2.0
// Bytes that a step changes, in memory or in the tier below it.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "vibee/core/tier/scratch_file.h"

namespace vibee {

struct StatePart {
  std::string_view name;
  std::span<uint8_t> bytes;           ///< where they are in memory
  const ScratchFile* file = nullptr;  ///< else the file and where they begin in it
  uint64_t file_at = 0, file_bytes = 0;

  uint64_t size() const { return file == nullptr ? bytes.size() : file_bytes; }
  /// A slice: where it lies, or in `room`.
  Result<std::span<uint8_t>> slice(uint64_t offset, uint64_t n, std::vector<uint8_t>* room) const {
    if (file == nullptr) return bytes.subspan(offset, n);
    room->resize(n);
    VIBEE_TRY(file->read(file_at + offset, *room));
    return std::span<uint8_t>(*room);
  }
  /// Takes a slice that was changed, or new bytes.
  Status put(uint64_t offset, std::span<const uint8_t> slice) const {
    if (file != nullptr) return file->write(file_at + offset, slice);
    if (slice.data() != bytes.data() + offset) std::copy(slice.begin(), slice.end(), bytes.begin() + int64_t(offset));
    return {};
  }
};

}  // namespace vibee
