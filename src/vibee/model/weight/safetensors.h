// SPDX-License-Identifier: Apache-2.0
// Safetensors files, written for hostile input: the header is checked against the file before a tensor of it is
// believed. Layout (the safetensors project's format description): 8 bytes with the length of a JSON header, the
// header, then the tensors' bytes without gaps. A model is one such file, or shards and an index of which tensor stands
// in which.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/formats/packed/format.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;             ///< as the header spells it: "F32", "BF16", ...
  std::optional<Format> format;  ///< empty for types that are known but not read ("I64", "F8_E4M3", ...)
  std::vector<uint64_t> shape;   ///< row-major: the last is contiguous; empty for a scalar
  uint64_t offset;               ///< absolute in the file
  uint64_t bytes;
};

class Safetensors {
 public:
  const std::string& path() const { return path_; }
  /// In the order of their bytes.
  std::span<const SafetensorsTensor> tensors() const { return tensors_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  /// Reads bytes [offset, offset + out.size()) of the tensor.
  Status read(const SafetensorsTensor& tensor, uint64_t offset, std::span<uint8_t> out) const;
  /// Tensors that are made when they are read: they lie in `source` one behind the other (offsets are set here), and
  /// may be in any format. `path` stands in messages.
  static Safetensors made(std::string path, std::shared_ptr<const ByteSource> source,
                          std::vector<SafetensorsTensor> tensors);

 private:
  friend class SafetensorsParser;
  std::string path_;
  std::shared_ptr<const ByteSource> source_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

Result<Safetensors> open_safetensors(const std::string& path);
/// The same over memory; `name` stands in messages where the path would.
Result<Safetensors> parse_safetensors(std::span<const uint8_t> bytes, std::string name);

/// The tensors of a directory: model.safetensors, or the shards of model.safetensors.index.json.
class SafetensorsSet {
 public:
  struct Place {
    const Safetensors* file;
    const SafetensorsTensor* tensor;
  };
  /// By name.
  const std::map<std::string, Place, std::less<>>& tensors() const { return tensors_; }
  static Result<SafetensorsSet> of(Safetensors file);
  /// The tensors of `from` but for some, and those of `made`, which keeps `from` alive.
  static Result<SafetensorsSet> replaced(const SafetensorsSet& from, const std::set<std::string, std::less<>>& without,
                                         Safetensors made);

 private:
  friend Result<SafetensorsSet> open_safetensors_directory(const std::string& directory);
  Status add(Safetensors file);
  std::vector<std::unique_ptr<const Safetensors>> files_;
  std::map<std::string, Place, std::less<>> tensors_;
};

/// Errors name a missing shard, a tensor that is not in its shard, and a shard's name that leaves the directory.
Result<SafetensorsSet> open_safetensors_directory(const std::string& directory);

}  // namespace vibee
