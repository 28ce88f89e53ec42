// SPDX-License-Identifier: Apache-2.0
// The tier below memory: bytes in a file that has no name, so that nobody else sees it and nothing is left of it
// however the process ends.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "vibee/base/status/status.h"

namespace vibee {

class ScratchFile {
 public:
  ScratchFile() = default;
  ScratchFile(ScratchFile&& other) noexcept { *this = std::move(other); }
  ScratchFile& operator=(ScratchFile&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(folder_, other.folder_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~ScratchFile();
  /// `size` bytes of zeros in a folder that is there. Their room on the disk is taken now, so that no later write runs
  /// out of it.
  static Result<ScratchFile> create(const std::string& folder, uint64_t size);
  uint64_t size() const { return size_; }
  /// Inside the size; from several threads, too.
  Status read(uint64_t offset, std::span<uint8_t> out) const;
  Status write(uint64_t offset, std::span<const uint8_t> bytes) const;

 private:
  int file_ = -1;
  std::string folder_;
  uint64_t size_ = 0;
};

}  // namespace vibee
