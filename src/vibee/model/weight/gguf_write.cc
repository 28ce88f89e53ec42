// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/gguf_write.h"

#include <unistd.h>

#include <algorithm>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/atomic_file.h"

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

}  // namespace

Status write_gguf(const std::string& path, const GgufMetadata& metadata, std::span<const TensorInfo> tensors,
                  const TensorBytes& read, const WriteProgress& progress) {
  uint64_t alignment = 32, total = 0;
  if (const auto at = metadata.find("general.alignment"); at != metadata.end() && at->second.type == GgufType::u32)
    alignment = load_u32(at->second.bytes.data());
  for (const TensorInfo& t : tensors)
    if (!info(t.format).in_gguf())
      return error(Code::unsupported,
                   "tensor {} is in {}, which no GGUF file has; name a format that one has, e.g. q4_1 or "
                   "q8_0",
                   quote(t.name), info(t.format).name);
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
    total += t.bytes;
  }
  VIBEE_ASSIGN(AtomicFile file, AtomicFile::create(fmt::format("{}.{}.part", path, ::getpid())));
  VIBEE_TRY(file.append(header.all));
  const auto pad = [&] {
    const std::vector<uint8_t> zeros(size_t(round_up(file.size(), alignment) - file.size()));
    return file.append(zeros);
  };
  VIBEE_TRY(pad());
  std::vector<uint8_t> slice;
  uint64_t done = 0;
  for (const TensorInfo& t : tensors) {
    const uint64_t row = info(t.format).row_bytes(t.row_length()), step = std::max<uint64_t>(1, kSlice / row) * row;
    for (uint64_t at = 0; at < t.bytes; at += step) {
      slice.resize(size_t(std::min(step, t.bytes - at)));
      VIBEE_TRY(read(t, at, slice));
      VIBEE_TRY(file.append(slice));
      done += slice.size();
      if (progress && !progress(done, total))
        return error(Code::cancelled, "{}: stopped; nothing was written", quote(path, 400));
    }
    VIBEE_TRY(pad());
  }
  return file.commit(path);
}

}  // namespace vibee
