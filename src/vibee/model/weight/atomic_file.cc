// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

Status failed(const std::string& path, std::string_view doing, int why) {
  if (why == ENOSPC || why == EDQUOT || why == EFBIG) {
    return error(Code::io, "{}: {} failed: {}; free disk space and try again", quote(path, 400), doing,
                 std::strerror(why));
  }
  return error(Code::io, "{}: {} failed: {}", quote(path, 400), doing, std::strerror(why));
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& temporary) {
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return failed(temporary, "creating", errno);
  return AtomicFile(fd, temporary, false);
}

Result<AtomicFile> AtomicFile::reopen(const std::string& temporary) {
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return failed(temporary, "opening", errno);
  AtomicFile file(fd, temporary, true);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    return error(Code::io, "{}: another process is writing it; wait for it or name another file",
                 quote(temporary, 400));
  struct stat info;
  if (::fstat(fd, &info) != 0) return failed(temporary, "opening", errno);
  file.size_ = uint64_t(info.st_size);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), keep_(other.keep_), path_(std::move(other.path_)), size_(other.size_) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!keep_) ::unlink(path_.c_str());
}

Status AtomicFile::append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path_, "writing", errno);
    bytes = bytes.subspan(size_t(n));
    size_ += uint64_t(n);
  }
  return {};
}

Status AtomicFile::overwrite(uint64_t offset, std::span<const uint8_t> bytes) {
  VIBEE_CHECK(offset + bytes.size() <= size_, "{} bytes at {} of {}", bytes.size(), offset, size_);
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path_, "writing", errno);
    bytes = bytes.subspan(size_t(n));
    offset += uint64_t(n);
  }
  return {};
}

bool AtomicFile::read(uint64_t offset, std::span<uint8_t> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(size_t(n));
    offset += uint64_t(n);
  }
  return true;
}

Status AtomicFile::truncate(uint64_t size) {
  if (::ftruncate(fd_, off_t(size)) != 0 || ::lseek(fd_, off_t(size), SEEK_SET) < 0)
    return failed(path_, "cutting", errno);
  size_ = size;
  return {};
}

Status AtomicFile::commit(const std::string& path) {
  if (::fsync(fd_) != 0) return failed(path_, "syncing", errno);
  if (::rename(path_.c_str(), path.c_str()) != 0) return failed(path, "renaming into place", errno);
  if (::close(std::exchange(fd_, -1)) != 0) return failed(path, "closing", errno);
  // The rename itself must reach the disk too; a file system that cannot sync folders does not make the pull fail.
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int directory = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    (void)::fsync(directory);
    ::close(directory);
  }
  return {};
}

Status write_file(const std::string& path, std::string_view text) {
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(path + ".part"));
  VIBEE_TRY(file.append({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  return file.commit(path);
}

}  // namespace vibee
