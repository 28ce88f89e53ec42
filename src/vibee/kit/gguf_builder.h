// SPDX-License-Identifier: Apache-2.0
// Makes GGUF files in memory for tests, valid ones by the ordinary calls and hostile ones by the raw ones.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/formats/packed/format.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// Little-endian bytes, appended.
class ByteWriter {
 public:
  ByteWriter& u8(uint8_t v) {
    bytes.push_back(v);
    return *this;
  }
  ByteWriter& u32(uint32_t v) {
    bytes.resize(bytes.size() + 4);
    store_u32(bytes.data() + bytes.size() - 4, v);
    return *this;
  }
  ByteWriter& u64(uint64_t v) {
    bytes.resize(bytes.size() + 8);
    store_u64(bytes.data() + bytes.size() - 8, v);
    return *this;
  }
  ByteWriter& text(std::string_view s) {
    u64(s.size());
    return raw({s.begin(), s.end()});
  }
  ByteWriter& raw(const std::vector<uint8_t>& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return *this;
  }
  std::vector<uint8_t> bytes;
};

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint32_t alignment = 32;  ///< of the layout; written as a key only by the caller
  std::optional<uint64_t> tensor_count, key_count;

  GgufBuilder& key(std::string_view name, GgufType type, const std::vector<uint8_t>& value) {
    return key_raw(name, uint32_t(type), value);
  }
  GgufBuilder& key_raw(std::string_view name, uint32_t type, const std::vector<uint8_t>& value) {
    keys_.text(name).u32(type).raw(value);
    ++keys_written_;
    return *this;
  }
  GgufBuilder& str(std::string_view name, std::string_view v) {
    return key(name, GgufType::string, ByteWriter().text(v).bytes);
  }
  GgufBuilder& u32(std::string_view name, uint32_t v) { return key(name, GgufType::u32, ByteWriter().u32(v).bytes); }
  GgufBuilder& f32(std::string_view name, float v) {
    return key(name, GgufType::f32, ByteWriter().u32(std::bit_cast<uint32_t>(v)).bytes);
  }
  GgufBuilder& boolean(std::string_view name, bool v) { return key(name, GgufType::boolean, {uint8_t(v)}); }
  GgufBuilder& strings(std::string_view name, const std::vector<std::string>& v) {
    ByteWriter w = array(GgufType::string, v.size());
    for (const std::string& s : v) w.text(s);
    return key(name, GgufType::array, w.bytes);
  }
  GgufBuilder& floats(std::string_view name, const std::vector<float>& v) {
    ByteWriter w = array(GgufType::f32, v.size());
    for (float x : v) w.u32(std::bit_cast<uint32_t>(x));
    return key(name, GgufType::array, w.bytes);
  }
  GgufBuilder& ints(std::string_view name, const std::vector<int32_t>& v) {
    ByteWriter w = array(GgufType::i32, v.size());
    for (int32_t x : v) w.u32(uint32_t(x));
    return key(name, GgufType::array, w.bytes);
  }
  /// The head of an array value; elements follow.
  static ByteWriter array(GgufType element, uint64_t count) {
    ByteWriter w;
    w.u32(uint32_t(element)).u64(count);
    return w;
  }

  /// A tensor with its data (row_bytes * rows of them), placed after the earlier ones.
  GgufBuilder& tensor(std::string_view name, Format format, const std::vector<uint64_t>& shape,
                      const std::vector<uint8_t>& data) {
    data_.bytes.resize((data_.bytes.size() + alignment - 1) / alignment * alignment);
    tensor_raw(name, shape, info(format).gguf_type, data_.bytes.size());
    data_.raw(data);
    return *this;
  }
  /// The same filled with a byte pattern.
  GgufBuilder& tensor(std::string_view name, Format format, const std::vector<uint64_t>& shape) {
    uint64_t rows = 1;
    for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
    std::vector<uint8_t> data(info(format).row_bytes(shape[0]) * rows);
    for (size_t i = 0; i < data.size(); ++i) data[i] = uint8_t(i * 7 + name.size());
    return tensor(name, format, shape, data);
  }
  GgufBuilder& tensor_raw(std::string_view name, const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset) {
    infos_.text(name).u32(uint32_t(shape.size()));
    for (uint64_t n : shape) infos_.u64(n);
    infos_.u32(type).u64(offset);
    ++tensors_written_;
    return *this;
  }
  GgufBuilder& data(const std::vector<uint8_t>& more) {
    data_.raw(more);
    return *this;
  }

  std::vector<uint8_t> build() const {
    ByteWriter w;
    w.raw({'G', 'G', 'U', 'F'}).u32(version).u64(tensor_count.value_or(tensors_written_));
    w.u64(key_count.value_or(keys_written_)).raw(keys_.bytes).raw(infos_.bytes);
    w.bytes.resize((w.bytes.size() + alignment - 1) / alignment * alignment);
    return w.raw(data_.bytes).bytes;
  }

 private:
  ByteWriter keys_, infos_, data_;
  uint64_t keys_written_ = 0, tensors_written_ = 0;
};

}  // namespace vibee
