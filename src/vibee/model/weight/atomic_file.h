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
  /// Goes on with `temporary` as a process before left it, or starts it; what stands there is kept until truncate().
  /// Refuses one that another process is writing. It stays behind unless it is committed.
  static Result<AtomicFile> reopen(const std::string& temporary);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  /// Removes the temporary file unless it was committed, or reopened.
  ~AtomicFile();
  Status append(std::span<const uint8_t> bytes);
  /// Writes over bytes that stand there.
  Status overwrite(uint64_t offset, std::span<const uint8_t> bytes);
  /// Of a file that was reopened: whether the bytes could be read.
  bool read(uint64_t offset, std::span<uint8_t> out) const;
  /// Cuts to `size` bytes; what is appended goes behind them.
  Status truncate(uint64_t size);
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  /// Syncs and renames to `path`, replacing what stood there.
  Status commit(const std::string& path);

 private:
  AtomicFile(int fd, std::string path, bool keep) : fd_(fd), keep_(keep), path_(std::move(path)) {}
  int fd_;
  bool keep_;
  std::string path_;
  uint64_t size_ = 0;
};

/// `text` as the whole of the file `path`.
Status write_file(const std::string& path, std::string_view text);

}  // namespace vibee
