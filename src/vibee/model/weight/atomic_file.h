// SPDX-License-Identifier: Apache-2.0
// A file that appears whole or not at all: written beside its place, synced, then renamed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

class AtomicFile {
 public:
  /// Starts `temporary` from empty; it must lie on the file system of the final place.
  static Result<AtomicFile> create(const std::string& temporary);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  /// Removes the temporary file unless it was committed.
  ~AtomicFile();
  Status append(std::span<const uint8_t> bytes);
  uint64_t size() const { return size_; }
  /// Syncs and renames to `path`, replacing what stood there.
  Status commit(const std::string& path);

 private:
  AtomicFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
  uint64_t size_ = 0;
};

/// `text` as the whole of the file `path`.
Status write_file(const std::string& path, std::string_view text);

}  // namespace vibee
