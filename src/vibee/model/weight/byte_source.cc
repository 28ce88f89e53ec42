// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/builtin_model.h"

namespace vibee {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(int fd, uint64_t size) : fd_(fd), size_(size) {}
  ~FileSource() override { ::close(fd_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  uint64_t size() const override { return size_; }

  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    for (size_t done = 0; done < out.size();) {
      const size_t want = std::min<size_t>(out.size() - done, size_t(1) << 30);
      const ssize_t got = ::pread(fd_, out.data() + done, want, off_t(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        return error(Code::io, "reading {} bytes at offset {} failed: {}", want, offset + done, std::strerror(errno));
      }
      if (got == 0) {
        return error(Code::io, "file shrank: {} bytes wanted at offset {}, it had {} when opened; open it again", want,
                     offset + done, size_);
      }
      done += size_t(got);
    }
    return {};
  }

 private:
  int fd_;
  uint64_t size_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::vector<uint8_t> own) : own_(std::move(own)), bytes_(own_) {}
  explicit MemorySource(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Status read(uint64_t offset, std::span<uint8_t> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) {
      return error(Code::io, "{} bytes wanted at offset {} of {}", out.size(), offset, bytes_.size());
    }
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  const std::vector<uint8_t> own_;
  const std::span<const uint8_t> bytes_;
};

}  // namespace

Result<std::shared_ptr<const ByteSource>> open_file_source(const std::string& path) {
  if (path == kBuiltinPath) return builtin_model();
  // Non-blocking: a pipe or device named by mistake must give an error, not a hang.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const Code code = errno == ENOENT ? Code::not_found : Code::io;
    return error(code, "{}: cannot be opened: {}", quote(path, 400), std::strerror(errno));
  }
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return error(Code::invalid, "{}: is not a regular file; name a .gguf file", quote(path, 400));
  }
  return std::shared_ptr<const ByteSource>(std::make_shared<FileSource>(fd, uint64_t(st.st_size)));
}

std::shared_ptr<const ByteSource> memory_source(std::vector<uint8_t> bytes) {
  return std::make_shared<MemorySource>(std::move(bytes));
}

std::shared_ptr<const ByteSource> memory_view(std::span<const uint8_t> bytes) {
  return std::make_shared<MemorySource>(bytes);
}

Result<std::string> read_small_file(const std::string& path, uint64_t limit) {
  VIBEE_ASSIGN(auto source, open_file_source(path));
  if (source->size() > limit)
    return error(Code::corrupt, "{}: it has {} bytes, at most {} are allowed", quote(path, 400), source->size(), limit);
  std::string text(size_t(source->size()), '\0');
  VIBEE_TRY(source->read(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}).within(quote(path, 400)));
  return text;
}

}  // namespace vibee
