// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/cache/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "vibee/base/text/quote.h"

namespace vibee {

Result<FileLock> FileLock::take(const std::string& path, const std::function<bool()>& waiting) {
  // Close-on-exec, so that a child that outlives this process does not keep the lock.
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return error(Code::io, "{}: cannot be opened: {}", quote(path, 400), std::strerror(errno));
  FileLock lock(fd);
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return error(Code::io, "{}: cannot be locked: {}", quote(path, 400), std::strerror(errno));
    }
    if (waiting && !waiting()) return error(Code::cancelled, "cancelled");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace vibee
