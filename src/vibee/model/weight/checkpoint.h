// SPDX-License-Identifier: Apache-2.0
// A model as it lies on disk: typed metadata and tensors by name, whatever the container. Keys and tensor names are
// those of GGUF (ggml docs/gguf.md); readers of other containers translate into them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/formats/packed/format.h"
#include "vibee/model/token/tokenizer_spec.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

/// A tensor NAME.perm, f32 [k], says that column i of NAME.weight multiplies input perm[i]: quantised weights may have
/// their columns sorted. Whole numbers of floats, each of 0 to k - 1 once.
inline constexpr std::string_view kOrderSuffix = ".perm";

/// Value types of the metadata, by their ids in the file.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct TensorInfo {
  std::string name;
  Format format;
  std::vector<uint64_t> shape;  ///< ggml order: shape[0] is the row length K, shape[1] the number of rows N, ...
  uint64_t offset;              ///< absolute in the file
  uint64_t bytes;

  uint64_t row_length() const { return shape[0]; }
  uint64_t rows() const {
    uint64_t n = 1;
    for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
    return n;
  }
  uint64_t elements() const { return shape[0] * rows(); }
};

/// One metadata value as it stands in the file; `bytes` of an array are its elements (strings with their length words).
struct GgufValue {
  GgufType type;
  GgufType element = GgufType::u8;  ///< of an array
  uint64_t count = 1;               ///< elements of an array
  uint64_t offset = 0;              ///< of the value in the file
  std::vector<uint8_t> bytes;
};

using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

/// What a reader of a container hands over. Tensors are checked already: inside the source, shapes of 1 to 4 dimensions
/// above 0, bytes as format and shape say.
struct CheckpointParts {
  std::string path;
  std::string directory;  ///< of files beside the weights; empty for a container of one file
  std::shared_ptr<const ByteSource> source;
  uint32_t version = 3;
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;
};

class Checkpoint {
 public:
  /// Refuses two tensors of one name.
  static Result<Checkpoint> assemble(CheckpointParts parts);

  const std::string& path() const { return path_; }
  uint64_t file_size() const { return source_->size(); }
  /// A directory in the layout of Hugging Face, whose tokenizer and chat template are files of their own.
  bool is_directory() const { return !directory_.empty(); }
  /// A text file beside the weights, e.g. "tokenizer.json". Code::not_found when there is none or the model is one
  /// file.
  Result<std::string> side_file(std::string_view name) const;
  uint32_t version() const { return version_; }
  /// In the file's order.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view tensor) const;
  /// As find, or an error that names the file and the tensor.
  Result<const TensorInfo*> tensor(std::string_view name) const;
  const GgufMetadata& metadata() const { return metadata_; }
  /// Gives the metadata's memory back once a model was made of it; tensors can still be read.
  void forget_metadata();

  bool has(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }
  // Missing keys and wrong types are errors that name file and key. Numbers convert between integer types when the
  // value fits; get_f64 also takes integers; the `_or` forms give the default only when the key is missing.
  Result<std::string> get_string(std::string_view key) const;
  Result<uint64_t> get_u64(std::string_view key) const;
  Result<int64_t> get_i64(std::string_view key) const;
  Result<double> get_f64(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string> get_string_or(std::string_view key, std::string otherwise) const;
  Result<uint64_t> get_u64_or(std::string_view key, uint64_t otherwise) const;
  Result<double> get_f64_or(std::string_view key, double otherwise) const;
  Result<bool> get_bool_or(std::string_view key, bool otherwise) const;
  /// Elements of an array, whatever their type.
  Result<uint64_t> array_size(std::string_view key) const;
  Result<std::vector<std::string>> get_strings(std::string_view key) const;
  Result<std::vector<float>> get_floats(std::string_view key) const;  ///< f32 and f64 arrays
  Result<std::vector<int32_t>> get_ints(std::string_view key) const;  ///< integer and bool arrays whose values fit

  /// One line of a value for people: scalars whole, strings and arrays cut after about `limit` characters.
  std::string describe(std::string_view key, size_t limit = 60) const;

  /// Reads bytes [offset, offset + out.size()) of the tensor.
  Status read(const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) const;

 private:
  friend class GgufParser;
  Checkpoint() = default;
  Result<const GgufValue*> value(std::string_view key, std::string_view wanted) const;
  Status wrong_type(std::string_view key, const GgufValue& value, std::string_view wanted) const;

  std::string path_, directory_;
  std::shared_ptr<const ByteSource> source_;
  uint32_t version_ = 0;
  GgufMetadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Metadata values as a GGUF file would hold them.
GgufValue gguf_u32(uint32_t value);
GgufValue gguf_f32(float value);
GgufValue gguf_f64(double value);
GgufValue gguf_bool(bool value);
GgufValue gguf_text(std::string_view value);
GgufValue gguf_texts(std::span<const std::string> values);
GgufValue gguf_floats(std::span<const double> values);  ///< as f32
GgufValue gguf_ints(std::span<const uint8_t> values);   ///< as i32
GgufValue gguf_bytes(std::string_view values);          ///< as i8

/// The type's name as messages print it: "u32", "string", ...
std::string_view gguf_value_type_name(GgufType type);

/// The tokenizer of a model file, with llama.cpp's defaults for what the file leaves out; ids are checked against the
/// list.
Result<TokenizerSpec> read_tokenizer(const Checkpoint& file);

/// The tokenizer.* keys of a tokenizer in GGUF's words (gguf_spec.h), in the place of those that are there.
void put_tokenizer(const TokenizerSpec& spec, GgufMetadata* metadata);

}  // namespace vibee
