// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/gguf_parse.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/gguf_scale.h"

namespace vibee {
namespace {

// Limits far above any model seen (the largest vocabularies take 10 MB, the largest models a few thousand tensors).
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxKeyLength = 65535;  // of the specification
constexpr uint64_t kMaxTensorName = 255;   // writers keep to 63
constexpr uint64_t kMaxString = 16 << 20;
constexpr uint64_t kMaxMetadata = 256 << 20;
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // length, a letter, type, a byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // length, a letter, dims, one dim, type, offset
constexpr uint64_t kWindow = 64 << 10;

uint64_t least_bytes(GgufType type) {
  if (type == GgufType::string) return 8;
  if (type == GgufType::array) return 12;
  return gguf_scalar_bytes(type);
}

std::string readable_formats() {
  std::string out;
  for (const NumericFormat& f : all_formats())
    if (f.in_gguf()) out += fmt::format("{}{}", out.empty() ? "" : " ", f.name);
  return out;
}

}  // namespace

uint32_t gguf_scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    default: return 0;
  }
}

GgufParser::GgufParser(std::shared_ptr<const ByteSource> source, std::string name) {
  file_.source_ = std::move(source);
  file_.path_ = std::move(name);
}

Status GgufParser::at(Code code, uint64_t offset, std::string_view what) const {
  return error(code, "{}: {} (offset {})", quote(file_.path_, 400), what, offset);
}

Status GgufParser::bytes(uint8_t* out, uint64_t n, std::string_view what) {
  if (n > left()) {
    return at(Code::corrupt, position_,
              fmt::format("{} needs {} bytes, the file has {} left; it is cut off or damaged, fetch it again", what, n,
                          left()));
  }
  while (n > 0) {
    if (position_ < window_start_ || position_ >= window_start_ + window_.size()) {
      window_.resize(size_t(std::min(kWindow, left())));
      window_start_ = position_;
      Status status = file_.source_->read(position_, window_);
      if (!status.ok()) return std::move(status).within(quote(file_.path_, 400));
    }
    const uint64_t from = position_ - window_start_, take = std::min<uint64_t>(n, window_.size() - from);
    std::memcpy(out, window_.data() + from, take);
    out += take;
    n -= take;
    position_ += take;
  }
  return {};
}

Result<uint32_t> GgufParser::u32(std::string_view what) {
  uint8_t raw[4];
  VIBEE_TRY(bytes(raw, 4, what));
  return load_u32(raw);
}

Result<uint64_t> GgufParser::u64(std::string_view what) {
  uint8_t raw[8];
  VIBEE_TRY(bytes(raw, 8, what));
  return load_u64(raw);
}

Result<std::string> GgufParser::text(uint64_t limit, std::string_view what) {
  const uint64_t start = position_;
  VIBEE_ASSIGN(const uint64_t n, u64(what));
  if (n > left()) {
    return at(Code::corrupt, start,
              fmt::format("{} claims {} bytes, the file has {} left; it is damaged", what, n, left()));
  }
  if (n > limit)
    return at(Code::corrupt, start, fmt::format("{} has {} bytes, at most {} are allowed", what, n, limit));
  std::string out(size_t(n), '\0');
  VIBEE_TRY(bytes(reinterpret_cast<uint8_t*>(out.data()), n, what));
  return out;
}

Status GgufParser::header() {
  uint8_t magic[4];
  VIBEE_TRY(bytes(magic, 4, "the magic \"GGUF\""));
  if (std::memcmp(magic, "GGUF", 4) != 0) {
    return at(Code::invalid, 0,
              fmt::format("not a GGUF file: it starts with {}", quote({reinterpret_cast<char*>(magic), 4})));
  }
  VIBEE_ASSIGN(file_.version_, u32("the version"));
  if (const uint32_t swapped = __builtin_bswap32(file_.version_); swapped == 2 || swapped == 3) {
    return at(Code::unsupported, 4, "a big-endian GGUF file; convert it to little-endian");
  }
  if (file_.version_ != 2 && file_.version_ != 3) {
    return at(Code::unsupported, 4, fmt::format("GGUF version {} is not readable, only 2 and 3 are", file_.version_));
  }
  VIBEE_ASSIGN(tensor_count_, u64("the tensor count"));
  VIBEE_ASSIGN(key_count_, u64("the key count"));
  if (key_count_ > std::min(kMaxKeys, left() / kMinKeyBytes)) {
    return at(Code::corrupt, 16,
              fmt::format("{} metadata keys claimed, {} bytes cannot hold them", key_count_, left()));
  }
  if (tensor_count_ > std::min(kMaxTensors, left() / kMinTensorBytes)) {
    return at(Code::corrupt, 8, fmt::format("{} tensors claimed, {} bytes cannot hold them", tensor_count_, left()));
  }
  return {};
}

Status GgufParser::append(uint64_t n, std::vector<uint8_t>& out, const std::string& key) {
  if (n > kMaxMetadata - kept_) {
    return at(Code::unsupported, position_,
              fmt::format("key {}: the metadata is larger than {} MiB", quote(key), kMaxMetadata >> 20));
  }
  if (n > left()) {
    return at(Code::corrupt, position_,
              fmt::format("key {}: {} bytes claimed, the file has {} left; it is damaged", quote(key), n, left()));
  }
  kept_ += n;
  const size_t old = out.size();
  out.resize(old + size_t(n));
  return bytes(out.data() + old, n, key);
}

// Checks `count` values of `type` and keeps their bytes.
Status GgufParser::elements(GgufType type, uint64_t count, int depth, std::vector<uint8_t>& out,
                            const std::string& key) {
  const uint64_t start = position_;
  if (count > left() / least_bytes(type)) {
    return at(Code::corrupt, start,
              fmt::format("key {}: {} elements of type {} claimed, the file has {} bytes left; it is damaged",
                          quote(key), count, gguf_value_type_name(type), left()));
  }
  if (const uint32_t size = gguf_scalar_bytes(type)) return append(count * size, out, key);
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::string) {
      VIBEE_TRY(append(8, out, key));
      const uint64_t n = load_u64(out.data() + out.size() - 8);
      if (n > kMaxString) {
        return at(
            Code::corrupt, position_ - 8,
            fmt::format("key {}: string {} claims {} bytes, at most {} are allowed", quote(key), i, n, kMaxString));
      }
      VIBEE_TRY(append(n, out, key));
      continue;
    }
    VIBEE_TRY(append(12, out, key));
    const uint32_t inner = load_u32(out.data() + out.size() - 12);
    const uint64_t n = load_u64(out.data() + out.size() - 8);
    if (inner > uint32_t(GgufType::f64)) {
      return at(Code::corrupt, position_ - 12, fmt::format("key {}: unknown element type {}", quote(key), inner));
    }
    if (depth + 1 > kMaxArrayDepth) {
      return at(Code::unsupported, position_ - 12,
                fmt::format("key {}: arrays nested deeper than {}", quote(key), kMaxArrayDepth));
    }
    VIBEE_TRY(elements(GgufType(inner), n, depth + 1, out, key));
  }
  return {};
}

Status GgufParser::check_bools(const GgufValue& value, const std::string& key) const {
  const bool bools =
      value.type == GgufType::boolean || (value.type == GgufType::array && value.element == GgufType::boolean);
  if (!bools) return {};
  for (uint8_t b : value.bytes) {
    if (b > 1)
      return at(Code::corrupt, value.offset, fmt::format("key {}: {} is not a bool; it must be 0 or 1", quote(key), b));
  }
  return {};
}

Status GgufParser::value(GgufValue& value, const std::string& key) {
  const uint64_t start = position_;
  VIBEE_ASSIGN(const uint32_t type, u32("a value type"));
  if (type > uint32_t(GgufType::f64)) {
    return at(Code::corrupt, start,
              fmt::format("key {}: unknown value type {}; the file is damaged or newer", quote(key), type));
  }
  value.type = GgufType(type);
  value.offset = position_;
  if (value.type == GgufType::array) {
    VIBEE_ASSIGN(const uint32_t element, u32("an element type"));
    VIBEE_ASSIGN(value.count, u64("an element count"));
    if (element > uint32_t(GgufType::f64)) {
      return at(Code::corrupt, value.offset, fmt::format("key {}: unknown element type {}", quote(key), element));
    }
    value.element = GgufType(element);
    VIBEE_TRY(elements(value.element, value.count, 1, value.bytes, key));
  } else if (value.type == GgufType::string) {
    VIBEE_ASSIGN(const uint64_t n, u64("a string length"));
    if (n > kMaxString) {
      return at(Code::corrupt, value.offset,
                fmt::format("key {}: a string claims {} bytes, at most {} are allowed", quote(key), n, kMaxString));
    }
    VIBEE_TRY(append(n, value.bytes, key));
  } else {
    VIBEE_TRY(append(gguf_scalar_bytes(value.type), value.bytes, key));
  }
  return check_bools(value, key);
}

Status GgufParser::metadata() {
  for (uint64_t i = 0; i < key_count_; ++i) {
    const uint64_t start = position_;
    VIBEE_ASSIGN(std::string key, text(kMaxKeyLength, fmt::format("the name of key {}", i)));
    if (key.empty()) return at(Code::corrupt, start, fmt::format("key {} has no name", i));
    GgufValue v{};
    VIBEE_TRY(value(v, key));
    const auto [place, fresh] = file_.metadata_.try_emplace(std::move(key), std::move(v));
    if (!fresh) return at(Code::corrupt, start, fmt::format("key {} stands twice", quote(place->first)));
  }
  return {};
}

Status GgufParser::alignment() {
  constexpr std::string_view kKey = "general.alignment";
  VIBEE_ASSIGN(alignment_, file_.get_u64_or(kKey, 32));
  if (!std::has_single_bit(alignment_) || alignment_ < 8 || alignment_ > 65536) {
    return at(Code::corrupt, file_.metadata_.find(kKey)->second.offset,
              fmt::format("key {} is {}, it must be a power of two from 8 to 65536", quote(kKey), alignment_));
  }
  return {};
}

Status GgufParser::tensor(TensorInfo& info, uint64_t& relative) {
  uint64_t start = position_;
  VIBEE_ASSIGN(info.name, text(kMaxTensorName, fmt::format("the name of tensor {}", file_.tensors_.size())));
  if (info.name.empty()) return at(Code::corrupt, start, fmt::format("tensor {} has no name", file_.tensors_.size()));
  const std::string name = fmt::format("tensor {}", quote(info.name));

  start = position_;
  VIBEE_ASSIGN(const uint32_t dims, u32(name));
  if (dims < 1 || dims > 4)
    return at(Code::corrupt, start, fmt::format("{} has {} dimensions, 1 to 4 are allowed", name, dims));
  uint64_t count = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    VIBEE_ASSIGN(const uint64_t n, u64(name));
    const std::optional<uint64_t> product = checked_mul(count, n);
    if (n == 0) return at(Code::corrupt, position_ - 8, fmt::format("{} has 0 elements in dimension {}", name, i));
    if (!product) return at(Code::corrupt, position_ - 8, fmt::format("{} has more than 2^64 elements", name));
    count = *product;
    info.shape.push_back(n);
  }

  start = position_;
  VIBEE_ASSIGN(const uint32_t type, u32(name));
  const NumericFormat* format = format_of_gguf_type(type);
  if (!format) {
    return at(Code::unsupported, start,
              fmt::format("{} has type {} (id {}), which this build cannot read; readable: {}", name,
                          gguf_type_name(type), type, readable_formats()));
  }
  info.format = format->format;
  if (info.shape[0] % format->block_elems != 0) {
    return at(Code::corrupt, start,
              fmt::format("{} has rows of {} elements, {} needs a multiple of {}", name, info.shape[0], format->name,
                          format->block_elems));
  }
  const std::optional<uint64_t> size = checked_mul(count / format->block_elems, format->block_bytes);
  if (!size || *size > file_.source_->size()) {
    return at(Code::corrupt, start,
              fmt::format("{} claims {} elements of {}, the whole file has {} bytes; it is damaged", name, count,
                          format->name, file_.source_->size()));
  }
  info.bytes = *size;

  start = position_;
  VIBEE_ASSIGN(relative, u64(name));
  if (relative % alignment_ != 0) {
    return at(Code::corrupt, start,
              fmt::format("{} stands at {}, not a multiple of the alignment {}", name, relative, alignment_));
  }
  return {};
}

Status GgufParser::tensor_infos() {
  std::vector<uint64_t> relative;
  for (uint64_t i = 0; i < tensor_count_; ++i) {
    const uint64_t start = position_;
    TensorInfo info{};
    uint64_t offset = 0;
    VIBEE_TRY(tensor(info, offset));
    const auto [place, fresh] = file_.index_.try_emplace(info.name, file_.tensors_.size());
    if (!fresh) return at(Code::corrupt, start, fmt::format("tensor {} stands twice", quote(place->first)));
    file_.tensors_.push_back(std::move(info));
    relative.push_back(offset);
  }
  return place(relative);
}

// Makes offsets absolute and checks that every tensor lies in the file and no two share a byte.
Status GgufParser::place(const std::vector<uint64_t>& relative) {
  const uint64_t data = round_up(position_, alignment_), size = file_.source_->size();
  for (size_t i = 0; i < relative.size(); ++i) {
    TensorInfo& t = file_.tensors_[i];
    const std::optional<uint64_t> offset = checked_add(data, relative[i]);
    if (!offset || *offset > size || t.bytes > size - *offset) {
      return at(
          Code::corrupt, offset.value_or(size),
          fmt::format("tensor {} ends {} bytes past the end of the file ({} bytes); it is cut off, fetch it again",
                      quote(t.name), offset ? checked_add(*offset, t.bytes).value_or(UINT64_MAX) - size : relative[i],
                      size));
    }
    t.offset = *offset;
  }
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& t : file_.tensors_) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes) {
      return at(Code::corrupt, order[i]->offset,
                fmt::format("tensors {} and {} overlap", quote(order[i - 1]->name), quote(order[i]->name)));
    }
  }
  return {};
}

Result<Checkpoint> GgufParser::run() {
  VIBEE_TRY(header());
  VIBEE_TRY(metadata());
  VIBEE_TRY(alignment());
  VIBEE_TRY(tensor_infos());
  return std::move(file_);
}

Result<Checkpoint> parse_gguf(std::span<const uint8_t> bytes, std::string name) {
  VIBEE_ASSIGN(Checkpoint file, GgufParser(memory_source({bytes.begin(), bytes.end()}), std::move(name)).run());
  VIBEE_ASSIGN(const uint64_t parts, file.get_u64_or("split.count", 1));
  if (parts <= 1) return with_matrix_scales(std::move(file));
  return error(Code::unsupported, "{}: one of {} parts of a split model, alone in memory (offset {})",
               quote(file.path(), 400), parts, file.metadata().find("split.count")->second.offset);
}

}  // namespace vibee
