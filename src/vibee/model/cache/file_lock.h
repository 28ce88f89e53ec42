// SPDX-License-Identifier: Apache-2.0
// A lock between processes on a file of its own; the system frees it when its holder dies.
#pragma once

#include <functional>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

class FileLock {
 public:
  /// Waits for the lock; `waiting` is called ten times a second meanwhile and gives up by returning false.
  static Result<FileLock> take(const std::string& path, const std::function<bool()>& waiting);
  FileLock(FileLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace vibee
