// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/gguf_write.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/model/weight/piece_log.h"

namespace vibee {
namespace {

constexpr uint64_t kSlice = 4 << 20;

class Bytes {
 public:
  void u32(uint32_t v) {
    all.resize(all.size() + 4);
    store_u32(all.data() + all.size() - 4, v);
  }
  void u64(uint64_t v) {
    all.resize(all.size() + 8);
    store_u64(all.data() + all.size() - 8, v);
  }
  void text(std::string_view s) {
    u64(s.size());
    all.insert(all.end(), s.begin(), s.end());
  }
  std::vector<uint8_t> all;
};

void put(Bytes& out, const std::string& key, const GgufValue& value) {
  out.text(key);
  out.u32(uint32_t(value.type));
  if (value.type == GgufType::array) {
    out.u32(uint32_t(value.element));
    out.u64(value.count);
  } else if (value.type == GgufType::string) {
    out.u64(value.bytes.size());
  }
  out.all.insert(out.all.end(), value.bytes.begin(), value.bytes.end());
}

uint64_t alignment_of(const GgufMetadata& metadata) {
  const auto at = metadata.find("general.alignment");
  return at != metadata.end() && at->second.type == GgufType::u32 ? load_u32(at->second.bytes.data()) : 32;
}

std::vector<uint8_t> header_of(const GgufMetadata& metadata, std::span<const TensorInfo> tensors) {
  const uint64_t alignment = alignment_of(metadata);
  Bytes header;
  header.all = {'G', 'G', 'U', 'F'};
  header.u32(3);
  header.u64(tensors.size());
  header.u64(metadata.size());
  // The architecture first: readers that print as they go have their name early.
  constexpr std::string_view kFirst = "general.architecture";
  if (const auto at = metadata.find(kFirst); at != metadata.end()) put(header, at->first, at->second);
  for (const auto& [key, value] : metadata)
    if (key != kFirst) put(header, key, value);
  uint64_t offset = 0;
  for (const TensorInfo& t : tensors) {
    header.text(t.name);
    header.u32(uint32_t(t.shape.size()));
    for (uint64_t n : t.shape) header.u64(n);
    header.u32(info(t.format).gguf_type);
    header.u64(offset);
    offset = round_up(offset + t.bytes, alignment);
  }
  header.all.resize(round_up(header.all.size(), alignment));
  return std::move(header.all);
}

/// The file as pieces one behind the other, of which those that a write before left are not written again.
class PieceWriter {
 public:
  static Result<PieceWriter> open(const std::string& path, std::span<const uint8_t> header, const std::string& resume) {
    if (resume.empty()) {
      VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(fmt::format("{}.{}.part", path, ::getpid())));
      return PieceWriter(std::move(file));
    }
    VIBEE_ASSIGN(AtomicFile file, AtomicFile::reopen(path + ".part"));
    PieceWriter writer(std::move(file));
    writer.log_ = PieceLog::open(path + ".pieces", resume + std::string(header.begin(), header.end()));
    writer.resuming_ = true;
    return writer;
  }

  /// Whether the next piece, of `size` bytes, stands there; it is passed over then. Else give() comes next.
  Result<bool> stands(uint64_t size) {
    if (!resuming_) return false;
    if (count_ < log_->size() && at_ + size <= file_.size()) {
      buffer_.resize(size);
      if (file_.read(at_, buffer_) && log_->holds(count_, buffer_)) {
        at_ += size;
        ++count_;
        return true;
      }
    }
    resuming_ = false;
    VIBEE_TRY(file_.truncate(at_));
    VIBEE_TRY(log_->truncate(count_));
    return false;
  }
  Status give(std::span<const uint8_t> piece) {
    VIBEE_TRY(file_.append(piece));
    if (log_) VIBEE_TRY(log_->add(piece));
    at_ += piece.size();
    return {};
  }
  AtomicFile& file() { return file_; }
  Status commit(const std::string& path) {
    if (resuming_) VIBEE_TRY(file_.truncate(at_));  // of a longer file, nothing is left
    VIBEE_TRY(file_.commit(path));
    if (log_) log_->remove();
    return {};
  }

 private:
  explicit PieceWriter(AtomicFile file) : file_(std::move(file)) {}
  AtomicFile file_;
  std::optional<PieceLog> log_;
  bool resuming_ = false;
  size_t count_ = 0;
  uint64_t at_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace

uint64_t gguf_header_bytes(const GgufMetadata& metadata, std::span<const TensorInfo> tensors) {
  return header_of(metadata, tensors).size();
}

uint64_t gguf_padded_bytes(const GgufMetadata& metadata, uint64_t bytes) {
  return round_up(bytes, alignment_of(metadata));
}

Status write_gguf(const std::string& path, const GgufMetadata& metadata, std::span<const TensorInfo> tensors,
                  const TensorBytes& read, const GgufWrite& options) {
  for (const TensorInfo& t : tensors)
    if (!info(t.format).in_gguf())
      return error(Code::unsupported,
                   "tensor {} is in {}, which no GGUF file has; name a format that one has, e.g. q4_1 or "
                   "q8_0",
                   quote(t.name), info(t.format).name);
  const uint64_t alignment = alignment_of(metadata);
  uint64_t total = 0, done = 0, resumed = 0;
  for (const TensorInfo& t : tensors) total += t.bytes;
  const std::vector<uint8_t> header = header_of(metadata, tensors);
  VIBEE_ASSIGN(PieceWriter out, PieceWriter::open(path, header, options.resume));
  VIBEE_ASSIGN(const bool begun, out.stands(header.size()));
  if (!begun) VIBEE_TRY(out.give(header));
  std::vector<uint8_t> slice;
  for (const TensorInfo& t : tensors) {
    const uint64_t row = info(t.format).row_bytes(t.row_length()), step = std::max<uint64_t>(1, kSlice / row) * row;
    for (uint64_t at = 0; at < t.bytes; at += step) {
      const uint64_t n = std::min(step, t.bytes - at),
                     padded = at + n < t.bytes ? n : round_up(t.bytes, alignment) - at;
      VIBEE_ASSIGN(const bool stands, out.stands(padded));
      if (stands) {
        resumed += n;
      } else {
        slice.assign(padded, 0);
        VIBEE_TRY(read(t, at, std::span(slice).first(n)));
        VIBEE_TRY(out.give(slice));
      }
      done += n;
      if (!options.progress || options.progress(done, total)) continue;
      if (options.resume.empty()) return error(Code::cancelled, "{}: stopped; nothing was written", quote(path, 400));
      return error(Code::cancelled, "{}: stopped after {:.0f} %; the same command goes on from there", quote(path, 400),
                   100.0 * double(done) / double(std::max<uint64_t>(total, 1)));
    }
  }
  if (options.resumed) *options.resumed = resumed;
  if (options.finish) {
    GgufMetadata changed = metadata;
    VIBEE_TRY(options.finish(out.file().path(), &changed));
    const std::vector<uint8_t> final_header = header_of(changed, tensors);
    VIBEE_CHECK(final_header.size() == header.size(), "the header grew from {} to {} bytes", header.size(),
                final_header.size());
    VIBEE_TRY(out.file().overwrite(0, final_header));
  }
  return out.commit(path);
}

}  // namespace vibee
