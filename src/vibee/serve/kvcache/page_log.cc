// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/page_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// "0000002a.kv" is segment 42; 0 for other names, and for numbers that leave no room above them.
uint32_t number_of(const std::string& name) {
  if (name.size() != 11 || name.substr(8) != ".kv") return 0;
  uint32_t number = 0;
  for (const char c : name.substr(0, 8)) {
    if (!std::isdigit(uint8_t(c)) && (c < 'a' || c > 'f')) return 0;
    number = number * 16 + uint32_t(std::isdigit(uint8_t(c)) ? c - '0' : c - 'a' + 10);
  }
  return number < 1u << 31 ? number : 0;
}

/// A regular file, not a link, of this user.
bool is_own_file(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// All of both at an offset.
bool write_all(int fd, std::span<const uint8_t> head, std::span<const uint8_t> page, uint64_t offset) {
  for (const std::span<const uint8_t> part : {head, page})
    for (size_t done = 0; done < part.size();) {
      const ssize_t n = ::pwrite(fd, part.data() + done, part.size() - done, off_t(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += size_t(n);
      offset += uint64_t(n);
    }
  return true;
}

}  // namespace

size_t PageLog::NameHash::operator()(const PageName& name) const {
  size_t h;
  std::memcpy(&h, name.data(), sizeof h);
  return h;
}

std::string PageLog::path(uint32_t number) const { return fmt::format("{}/{:08x}.kv", folder_, number); }

Result<std::unique_ptr<PageLog>> PageLog::open(const std::string& folder, uint64_t limit, const PageLogShape& shape,
                                               std::string_view label) {
  std::error_code why;
  if (!std::filesystem::exists(folder, why)) std::filesystem::create_directories(folder, why);
  struct stat info;
  if (why || ::stat(folder.c_str(), &info) != 0)
    return error(Code::io, "{}: cannot be made: {}", quote(folder, 400), why ? why.message() : std::strerror(errno));
  if (!S_ISDIR(info.st_mode)) return error(Code::invalid, "{}: is not a folder; name one", quote(folder, 400));
  if (info.st_uid != ::geteuid())
    return error(Code::invalid, "{}: belongs to another user, who could put anything there; name a folder of your own",
                 quote(folder, 400));
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return error(Code::io, "{}: cannot be written: {}", quote(folder, 400), std::strerror(errno));
  auto lock = FileLock::take(folder + "/lock", [] { return false; });
  if (!lock.ok() && lock.status().code() == Code::cancelled)
    return error(Code::invalid, "{}: another process keeps its pages there; name another folder", quote(folder, 400));
  if (!lock.ok()) return lock.take_status();
  std::unique_ptr<PageLog> log(new PageLog(folder, std::move(*lock), limit, shape, label));
  VIBEE_TRY(log->scan());
  return log;
}

Status PageLog::scan() {
  std::error_code why;
  std::vector<uint32_t> numbers;
  for (std::filesystem::directory_iterator at(folder_, why), end; !why && at != end; at.increment(why)) {
    const uint32_t number = number_of(at->path().filename().string());
    if (number != 0 && is_own_file(at->path().string())) numbers.push_back(number);
  }
  if (why) return error(Code::io, "{}: cannot be listed: {}", quote(folder_, 400), why.message());
  std::sort(numbers.begin(), numbers.end());
  for (const uint32_t number : numbers) {
    auto source = open_file_source(path(number));
    if (!source.ok()) continue;  // not ours to read, or gone
    const SegmentScan scan = scan_segment(**source, shape_);
    const uint64_t bytes = std::max((*source)->size(), slot_offset(shape_.page_bytes, scan.slots));
    segments_.push_back({number, bytes, scan.ours ? ++clock_ : 0, scan.ours});
    stats_.bytes += bytes;
    stats_.bad += scan.bad + !scan.readable;
    if (scan.ours) {
      for (const auto& [slot, record] : scan.records) places_[record] = {number, slot};
      current_ = number;
      continue;
    }
    ++stats_.foreign;
    const std::string& name = scan.readable ? scan.label : "unreadable";
    if (stats_.others.size() < 16 && std::find(stats_.others.begin(), stats_.others.end(), name) == stats_.others.end())
      stats_.others.push_back(name);
  }
  return {};
}

PageLog::Segment* PageLog::segment(uint32_t number) {
  for (Segment& s : segments_)
    if (s.number == number) return &s;
  return nullptr;
}

bool PageLog::has(const PageName& name) const {
  const std::lock_guard guard(mutex_);
  return places_.contains(name);
}

void PageLog::touch(const PageName& name) {
  const std::lock_guard guard(mutex_);
  const auto at = places_.find(name);
  if (at != places_.end()) segment(at->second.segment)->used = ++clock_;
}

bool PageLog::read(const PageKey& key, std::span<uint8_t> page) {
  std::string file;
  Place place;
  {
    const std::lock_guard guard(mutex_);
    const auto at = places_.find(key.name);
    if (at == places_.end()) return false;
    place = at->second;
    segment(place.segment)->used = ++clock_;
    file = path(place.segment);
  }
  const auto source = open_file_source(file);
  if (source.ok() && read_page(**source, shape_, place.slot, key, page).ok()) return true;
  const std::lock_guard guard(mutex_);
  const auto at = places_.find(key.name);
  if (at != places_.end() && at->second.segment == place.segment && at->second.slot == place.slot) {
    places_.erase(at);
    ++stats_.bad;
  }
  return false;
}

/// Drops segments until `bytes` more keep the limit; not the one that grows.
Status PageLog::make_room(uint64_t bytes) {
  while (stats_.bytes + bytes > limit_) {
    auto coldest = segments_.end();
    for (auto s = segments_.begin(); s != segments_.end(); ++s)
      if (s->number != current_ && (coldest == segments_.end() || s->used < coldest->used)) coldest = s;
    if (coldest == segments_.end())
      return error(Code::no_memory, "{}: {} bytes do not hold another page of {}", quote(folder_, 400), limit_,
                   shape_.page_bytes);
    if (::unlink(path(coldest->number).c_str()) != 0 && errno != ENOENT)
      return error(Code::io, "{}: cannot be removed: {}", quote(path(coldest->number), 400), std::strerror(errno));
    std::erase_if(places_, [&](const auto& entry) { return entry.second.segment == coldest->number; });
    stats_.bytes -= std::min(stats_.bytes, coldest->bytes);
    ++stats_.dropped;
    segments_.erase(coldest);
  }
  return {};
}

Status PageLog::begin_segment() {
  const std::vector<uint8_t> head = segment_head(shape_, label_);
  current_ = 0;
  VIBEE_TRY(make_room(head.size() + record_stride(shape_.page_bytes)));
  uint32_t number = segments_.empty() ? 1 : segments_.back().number + 1;  // they are in order
  int fd;                                                                 // somebody else's file may have that name
  while ((fd = ::open(path(number).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0 &&
         errno == EEXIST)
    ++number;
  const Descriptor file(fd);
  if (fd < 0 || !write_all(fd, head, {}, 0))
    return error(Code::io, "{}: cannot be written: {}", quote(path(number), 400), std::strerror(errno));
  segments_.push_back({number, head.size(), ++clock_, true});
  stats_.bytes += head.size();
  current_ = number;
  return {};
}

Status PageLog::append(const PageKey& key, std::span<const uint8_t> page) {
  const uint64_t stride = record_stride(shape_.page_bytes);
  const std::vector<uint8_t> head = record_head(shape_, key, page);
  const std::vector<uint8_t> padding(stride - head.size() - page.size());
  std::unique_lock guard(mutex_);
  if (places_.contains(key.name)) return {};
  // Several segments, so that the coldest can go without the others.
  const uint64_t most = std::min(kSegmentBytes, limit_ / 4);
  if (current_ == 0 || segment(current_)->bytes + stride > most) VIBEE_TRY(begin_segment());
  if (!make_room(stride).ok()) VIBEE_TRY(begin_segment());  // the one that grows is all there is
  const uint32_t number = current_;
  const uint64_t at = segment(number)->bytes;
  const auto slot = uint32_t((at - slot_offset(shape_.page_bytes, 0)) / stride);
  guard.unlock();
  const Descriptor file(::open(path(number).c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  const bool written = file.get() >= 0 && write_all(file.get(), head, page, at) &&
                       write_all(file.get(), padding, {}, at + head.size() + page.size());
  const int why = errno;
  guard.lock();
  if (!written) {
    if (file.get() >= 0 && ::ftruncate(file.get(), off_t(at)) != 0) current_ = 0;  // a torn record; go on elsewhere
    return error(Code::io, "{}: cannot be written: {}", quote(path(number), 400), std::strerror(why));
  }
  segment(number)->bytes = at + stride;
  segment(number)->used = ++clock_;
  stats_.bytes += stride;
  places_[key.name] = {number, slot};
  return {};
}

PageLogStats PageLog::stats() const {
  const std::lock_guard guard(mutex_);
  PageLogStats s = stats_;
  s.records = places_.size();
  return s;
}

}  // namespace vibee
