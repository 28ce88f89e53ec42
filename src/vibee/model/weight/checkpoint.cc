// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/checkpoint.h"

#include <bit>
#include <cmath>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/gguf_parse.h"

namespace vibee {
namespace {

constexpr std::string_view kTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};

/// An integer of any type in 64 bits; without `negative` it may lie above int64's range.
struct Integer {
  bool negative;
  uint64_t bits;  // two's complement
};

bool is_integer(GgufType t) {
  switch (t) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::u16:
    case GgufType::i16:
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::u64:
    case GgufType::i64: return true;
    default: return false;
  }
}

Integer load_integer(GgufType type, const uint8_t* p) {
  int64_t v = 0;
  switch (type) {
    case GgufType::u8:
    case GgufType::boolean: return {false, p[0]};
    case GgufType::u16: return {false, load_u16(p)};
    case GgufType::u32: return {false, load_u32(p)};
    case GgufType::u64: return {false, load_u64(p)};
    case GgufType::i8: v = int8_t(p[0]); break;
    case GgufType::i16: v = int16_t(load_u16(p)); break;
    case GgufType::i32: v = int32_t(load_u32(p)); break;
    default: v = int64_t(load_u64(p)); break;
  }
  return {v < 0, uint64_t(v)};
}

double load_float(GgufType type, const uint8_t* p) {
  return type == GgufType::f32 ? double(std::bit_cast<float>(load_u32(p))) : std::bit_cast<double>(load_u64(p));
}

std::string_view as_text(const uint8_t* p, uint64_t n) { return {reinterpret_cast<const char*>(p), size_t(n)}; }

std::string print_scalar(GgufType type, const uint8_t* p) {
  if (type == GgufType::boolean) return p[0] ? "true" : "false";
  if (type == GgufType::f32 || type == GgufType::f64) return fmt::format("{:.6g}", load_float(type, p));
  const Integer i = load_integer(type, p);
  return i.negative ? fmt::format("{}", int64_t(i.bits)) : fmt::format("{}", i.bits);
}

}  // namespace

std::string_view gguf_value_type_name(GgufType type) { return kTypeNames[size_t(type)]; }

GgufValue gguf_u32(uint32_t value) {
  GgufValue v{};
  v.type = GgufType::u32;
  v.bytes.resize(4);
  store_u32(v.bytes.data(), value);
  return v;
}
GgufValue gguf_f32(float value) {
  GgufValue v = gguf_u32(std::bit_cast<uint32_t>(value));
  v.type = GgufType::f32;
  return v;
}
GgufValue gguf_f64(double value) {
  GgufValue v{};
  v.type = GgufType::f64;
  v.bytes.resize(8);
  store_u64(v.bytes.data(), std::bit_cast<uint64_t>(value));
  return v;
}
GgufValue gguf_bool(bool value) {
  GgufValue v{};
  v.type = GgufType::boolean;
  v.bytes = {uint8_t(value)};
  return v;
}
GgufValue gguf_text(std::string_view value) {
  GgufValue v{};
  v.type = GgufType::string;
  v.bytes.assign(value.begin(), value.end());
  return v;
}

namespace {

GgufValue gguf_array(GgufType element, size_t count) {
  GgufValue v{};
  v.type = GgufType::array;
  v.element = element;
  v.count = count;
  return v;
}

}  // namespace

GgufValue gguf_texts(std::span<const std::string> values) {
  GgufValue v = gguf_array(GgufType::string, values.size());
  size_t bytes = 0;
  for (const std::string& text : values) bytes += 8 + text.size();
  v.bytes.reserve(bytes);
  for (const std::string& text : values) {
    uint8_t length[8];
    store_u64(length, text.size());
    v.bytes.insert(v.bytes.end(), length, length + 8);
    v.bytes.insert(v.bytes.end(), text.begin(), text.end());
  }
  return v;
}
GgufValue gguf_floats(std::span<const double> values) {
  GgufValue v = gguf_array(GgufType::f32, values.size());
  v.bytes.resize(4 * values.size());
  for (size_t i = 0; i < values.size(); ++i)
    store_u32(v.bytes.data() + 4 * i, std::bit_cast<uint32_t>(float(values[i])));
  return v;
}
GgufValue gguf_ints(std::span<const uint8_t> values) {
  GgufValue v = gguf_array(GgufType::i32, values.size());
  v.bytes.resize(4 * values.size());
  for (size_t i = 0; i < values.size(); ++i) store_u32(v.bytes.data() + 4 * i, values[i]);
  return v;
}
GgufValue gguf_bytes(std::string_view values) {
  GgufValue v = gguf_array(GgufType::i8, values.size());
  v.bytes.assign(values.begin(), values.end());
  return v;
}

Result<Checkpoint> Checkpoint::assemble(CheckpointParts parts) {
  Checkpoint out;
  out.path_ = std::move(parts.path);
  out.directory_ = std::move(parts.directory);
  out.source_ = std::move(parts.source);
  out.version_ = parts.version;
  out.metadata_ = std::move(parts.metadata);
  out.tensors_ = std::move(parts.tensors);
  for (size_t i = 0; i < out.tensors_.size(); ++i)
    if (!out.index_.try_emplace(out.tensors_[i].name, i).second)
      return error(Code::corrupt, "{}: tensor {} stands twice", quote(out.path_, 400), quote(out.tensors_[i].name));
  return out;
}

Result<std::string> Checkpoint::side_file(std::string_view name) const {
  constexpr uint64_t kMost = 128 << 20;  // tokenizers of the largest vocabularies take 40 MB
  if (directory_.empty()) return error(Code::not_found, "{}: is one file, without {}", quote(path_, 400), name);
  return read_small_file(fmt::format("{}/{}", directory_, name), kMost);
}

void Checkpoint::forget_metadata() {
  metadata_.clear();
  return_free_memory();
}

const TensorInfo* Checkpoint::find(std::string_view tensor) const {
  const auto it = index_.find(tensor);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Result<const TensorInfo*> Checkpoint::tensor(std::string_view name) const {
  if (const TensorInfo* t = find(name)) return t;
  return error(Code::not_found, "{}: tensor {} is missing; the file is incomplete or of another architecture",
               quote(path_, 400), quote(name));
}

Result<const GgufValue*> Checkpoint::value(std::string_view key, std::string_view wanted) const {
  const auto it = metadata_.find(key);
  if (it != metadata_.end()) return &it->second;
  return error(Code::not_found, "{}: key {} ({}) is missing; the file is incomplete or of another architecture",
               quote(path_, 400), quote(key), wanted);
}

Status Checkpoint::wrong_type(std::string_view key, const GgufValue& value, std::string_view wanted) const {
  const std::string is = value.type == GgufType::array
                             ? fmt::format("an array of {} {}", value.count, gguf_value_type_name(value.element))
                             : fmt::format("{} {}", gguf_value_type_name(value.type), describe(key));
  return error(Code::invalid, "{}: key {} is {}, wanted {} (offset {})", quote(path_, 400), quote(key), is, wanted,
               value.offset);
}

Result<std::string> Checkpoint::get_string(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "string"));
  if (v->type != GgufType::string) return wrong_type(key, *v, "string");
  return std::string(as_text(v->bytes.data(), v->bytes.size()));
}

Result<uint64_t> Checkpoint::get_u64(std::string_view key) const {
  constexpr std::string_view kWanted = "an integer from 0";
  VIBEE_ASSIGN(const GgufValue* v, value(key, kWanted));
  if (!is_integer(v->type)) return wrong_type(key, *v, kWanted);
  const Integer i = load_integer(v->type, v->bytes.data());
  if (i.negative) return wrong_type(key, *v, kWanted);
  return i.bits;
}

Result<int64_t> Checkpoint::get_i64(std::string_view key) const {
  constexpr std::string_view kWanted = "a 64-bit integer";
  VIBEE_ASSIGN(const GgufValue* v, value(key, kWanted));
  if (!is_integer(v->type)) return wrong_type(key, *v, kWanted);
  const Integer i = load_integer(v->type, v->bytes.data());
  if (!i.negative && i.bits > uint64_t(INT64_MAX)) return wrong_type(key, *v, kWanted);
  return int64_t(i.bits);
}

Result<double> Checkpoint::get_f64(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "a number"));
  if (v->type == GgufType::f32 || v->type == GgufType::f64) return load_float(v->type, v->bytes.data());
  if (!is_integer(v->type)) return wrong_type(key, *v, "a number");
  const Integer i = load_integer(v->type, v->bytes.data());
  return i.negative ? double(int64_t(i.bits)) : double(i.bits);
}

Result<bool> Checkpoint::get_bool(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "bool"));
  if (v->type != GgufType::boolean) return wrong_type(key, *v, "bool");
  return v->bytes[0] != 0;
}

Result<std::string> Checkpoint::get_string_or(std::string_view key, std::string otherwise) const {
  return has(key) ? get_string(key) : std::move(otherwise);
}
Result<uint64_t> Checkpoint::get_u64_or(std::string_view key, uint64_t otherwise) const {
  return has(key) ? get_u64(key) : otherwise;
}
Result<double> Checkpoint::get_f64_or(std::string_view key, double otherwise) const {
  return has(key) ? get_f64(key) : otherwise;
}
Result<bool> Checkpoint::get_bool_or(std::string_view key, bool otherwise) const {
  return has(key) ? get_bool(key) : otherwise;
}

Result<uint64_t> Checkpoint::array_size(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "array"));
  if (v->type != GgufType::array) return wrong_type(key, *v, "an array");
  return v->count;
}

Result<std::vector<std::string>> Checkpoint::get_strings(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "array of string"));
  if (v->type != GgufType::array || v->element != GgufType::string) return wrong_type(key, *v, "an array of string");
  std::vector<std::string> out;
  out.reserve(size_t(v->count));
  const uint8_t* p = v->bytes.data();
  for (uint64_t i = 0; i < v->count; ++i) {
    const uint64_t n = load_u64(p);  // checked by the parser
    out.emplace_back(as_text(p + 8, n));
    p += 8 + n;
  }
  return out;
}

Result<std::vector<float>> Checkpoint::get_floats(std::string_view key) const {
  VIBEE_ASSIGN(const GgufValue* v, value(key, "array of f32"));
  if (v->type != GgufType::array || (v->element != GgufType::f32 && v->element != GgufType::f64)) {
    return wrong_type(key, *v, "an array of f32");
  }
  const uint32_t size = gguf_scalar_bytes(v->element);
  std::vector<float> out(size_t(v->count));
  for (size_t i = 0; i < out.size(); ++i) out[i] = float(load_float(v->element, v->bytes.data() + i * size));
  return out;
}

Result<std::vector<int32_t>> Checkpoint::get_ints(std::string_view key) const {
  constexpr std::string_view kWanted = "an array of 32-bit integers";
  VIBEE_ASSIGN(const GgufValue* v, value(key, kWanted));
  if (v->type != GgufType::array || (!is_integer(v->element) && v->element != GgufType::boolean)) {
    return wrong_type(key, *v, kWanted);
  }
  const uint32_t size = gguf_scalar_bytes(v->element);
  std::vector<int32_t> out(size_t(v->count));
  for (size_t i = 0; i < out.size(); ++i) {
    const Integer x = load_integer(v->element, v->bytes.data() + i * size);
    if (x.negative ? int64_t(x.bits) < INT32_MIN : x.bits > uint64_t(INT32_MAX)) return wrong_type(key, *v, kWanted);
    out[i] = int32_t(x.bits);
  }
  return out;
}

std::string Checkpoint::describe(std::string_view key, size_t limit) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return "missing";
  const GgufValue& v = it->second;
  if (v.type == GgufType::string) return quote(as_text(v.bytes.data(), v.bytes.size()), limit);
  if (v.type != GgufType::array) return print_scalar(v.type, v.bytes.data());
  std::string out = fmt::format("{} {} [", v.count, gguf_value_type_name(v.element));
  const uint8_t* p = v.bytes.data();
  for (uint64_t i = 0; i < v.count; ++i) {
    if (i) out += ", ";
    if (out.size() > limit || v.element == GgufType::array) return out + "...]";
    if (v.element == GgufType::string) {
      const uint64_t n = load_u64(p);
      out += quote(as_text(p + 8, n), limit);
      p += 8 + n;
    } else {
      out += print_scalar(v.element, p);
      p += gguf_scalar_bytes(v.element);
    }
  }
  return out + "]";
}

Status Checkpoint::read(const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) const {
  VIBEE_CHECK(offset <= tensor.bytes && out.size() <= tensor.bytes - offset, "tensor {} of {} bytes, read {} at {}",
              tensor.name, tensor.bytes, out.size(), offset);
  Status status = source_->read(tensor.offset + offset, out);
  if (status.ok()) return status;
  return std::move(status).within(fmt::format("{}: tensor {}", quote(path_, 400), quote(tensor.name)));
}

}  // namespace vibee
