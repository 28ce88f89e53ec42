// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/tier/scratch_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// Calls once(done) until all bytes are moved; 0 bytes are the file's end, which is inside no file of ours.
template <class F>
Status all_of(const std::string& folder, std::string_view what, uint64_t offset, size_t bytes, F&& once) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = once(done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return error(Code::io, "{}: a scratch file cannot be {} at offset {}: {}", quote(folder, 400), what,
                   offset + done, n == 0 ? "it ends" : std::strerror(errno));
    done += size_t(n);
  }
  return {};
}

}  // namespace

ScratchFile::~ScratchFile() {
  if (file_ >= 0) ::close(file_);
}

Result<ScratchFile> ScratchFile::create(const std::string& folder, uint64_t size) {
  ScratchFile scratch;
  scratch.folder_ = folder, scratch.size_ = size;
  std::string path = folder + "/.scratch-XXXXXX";
  scratch.file_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (scratch.file_ < 0)
    return error(Code::io, "{}: a scratch file cannot be made there: {}", quote(folder, 400), std::strerror(errno));
  ::unlink(path.c_str());
  int failed = EINTR;
  while (failed == EINTR) failed = size > 0 ? ::posix_fallocate(scratch.file_, 0, off_t(size)) : 0;
  if (failed != 0)
    return error(Code::io, "{}: no room on the disk for a scratch file of {} MiB: {}", quote(folder, 400), size >> 20,
                 std::strerror(failed));
  return scratch;
}

Status ScratchFile::read(uint64_t offset, std::span<uint8_t> out) const {
  VIBEE_CHECK(offset <= size_ && out.size() <= size_ - offset, "{} bytes at {} of {}", out.size(), offset, size_);
  return all_of(folder_, "read", offset, out.size(), [&](size_t done) {
    return ::pread(file_, out.data() + done, out.size() - done, off_t(offset + done));
  });
}

Status ScratchFile::write(uint64_t offset, std::span<const uint8_t> bytes) const {
  VIBEE_CHECK(offset <= size_ && bytes.size() <= size_ - offset, "{} bytes at {} of {}", bytes.size(), offset, size_);
  return all_of(folder_, "written", offset, bytes.size(), [&](size_t done) {
    return ::pwrite(file_, bytes.data() + done, bytes.size() - done, off_t(offset + done));
  });
}

}  // namespace vibee
