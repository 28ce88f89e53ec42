// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/cost/records.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <ctime>
#include <vector>

#include "vibee/base/hash/siphash.h"

namespace vibee {
namespace {

constexpr uint64_t kMostBytes = 64u << 20;
constexpr size_t kMostLine = 2000;

std::string checksum(std::string_view rest) {
  const Hash128 h = SipHash(0, 0)({reinterpret_cast<const uint8_t*>(rest.data()), rest.size()});
  return fmt::format("{:016x}", h.low);
}

/// A field of a line: what would end one becomes a space.
std::string field(std::string_view text) {
  std::string out(text.substr(0, 400));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return out;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &utc)};
}

struct File {
  int fd;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

Status broken(const std::string& path, const char* what) {
  return error(Code::io, "{}: cannot be {}: {}", path, what, std::strerror(errno));
}

}  // namespace

void Records::read(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    std::string_view fields[6], rest = line;
    size_t count = 0;
    for (bool more = true; more && count < 6; ++count) {
      const size_t tab = rest.find('\t');
      more = tab != std::string_view::npos;
      fields[count] = rest.substr(0, tab);
      rest.remove_prefix(more ? tab + 1 : rest.size());
    }
    double seconds = 0;
    const std::string_view number = fields[5];
    const auto [stop, failed] = std::from_chars(number.data(), number.data() + number.size(), seconds);
    if (line.size() > kMostLine || count != 6 || !rest.empty() || failed != std::errc() ||
        stop != number.data() + number.size() || !std::isfinite(seconds) || seconds <= 0 ||
        fields[0] != checksum(line.substr(fields[0].size() + 1))) {
      ++damaged_;
    } else if (fields[2] == device_) {
      seconds_[{std::string(fields[3]), std::string(fields[4])}] = seconds;
    }
  }
}

Records Records::parse(std::string_view text, std::string_view device) {
  Records out;
  out.device_ = field(device);
  out.read(text);
  return out;
}

Result<Records> Records::open(const std::string& path, std::string_view device) {
  Records out = parse("", device);
  out.path_ = path;
  if (path.empty()) return out;
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return errno == ENOENT ? Result<Records>(std::move(out)) : broken(path, "read");
  flock(file.fd, LOCK_SH);
  const off_t size = lseek(file.fd, 0, SEEK_END);
  if (size < 0) return broken(path, "read");
  if (uint64_t(size) > kMostBytes)
    return error(Code::invalid, "{}: {} MiB of measurements; remove the file", path, uint64_t(size) >> 20);
  std::string text(size_t(size), '\0');
  for (size_t at = 0; at < text.size();) {
    const ssize_t got = pread(file.fd, text.data() + at, text.size() - at, off_t(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return broken(path, "read");
    if (got == 0) text.resize(at);
    at += size_t(got);
  }
  out.read(text);
  return out;
}

std::optional<double> Records::seconds(std::string_view problem, std::string_view implementation) const {
  const auto found = seconds_.find({field(problem), field(implementation)});
  return found == seconds_.end() ? std::nullopt : std::optional<double>(found->second);
}

Status Records::add(std::string_view problem, std::string_view implementation, double seconds) {
  seconds_[{field(problem), field(implementation)}] = seconds;
  if (path_.empty()) return {};
  const std::string rest =
      fmt::format("{}\t{}\t{}\t{}\t{}", today(), device_, field(problem), field(implementation), seconds);
  std::string line = fmt::format("{}\t{}\n", checksum(rest), rest);
  const File file{::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
  if (file.fd < 0) return broken(path_, "written");
  flock(file.fd, LOCK_EX);
  // A line that a writer did not end spoils itself alone.
  const off_t size = lseek(file.fd, 0, SEEK_END);
  char last = '\n';
  if (size > 0 && pread(file.fd, &last, 1, size - 1) == 1 && last != '\n') line.insert(line.begin(), '\n');
  if (write(file.fd, line.data(), line.size()) != ssize_t(line.size())) return broken(path_, "written");
  return {};
}

}  // namespace vibee
