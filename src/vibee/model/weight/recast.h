// SPDX-License-Identifier: Apache-2.0
// A checkpoint's tensors in another number format, decoded and encoded slice by slice as they are read.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "vibee/model/weight/gguf_write.h"

namespace vibee {

/// What is done to a tensor's rows, as floats and from row `first` on, on their way.
struct RecastEdit {
  std::function<bool(const std::string& tensor)> touches = [](const std::string&) { return false; };
  std::function<Status(const std::string& tensor, uint64_t first, std::span<float> rows)> apply = {};
};

class Recast {
 public:
  /// Matrices become `format`; empty keeps every tensor's own. Vectors, learned positions and routers, which formats of
  /// blocks would hurt for nothing, become float32 where `format` has blocks; matrices whose rows it cannot divide
  /// become float16. Refuses a format that only reading is built for, also of a tensor that is edited. `file` must
  /// outlive this.
  static Result<Recast> create(const Checkpoint& file, std::optional<Format> format, RecastEdit edit = {});
  /// The same where a matrix takes the first of several formats whose blocks divide its rows.
  static Result<Recast> create(const Checkpoint& file, const std::vector<Format>& formats, RecastEdit edit = {});

  /// As they will be; offsets are not set.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// Bytes of one of them; offset and length are whole rows.
  Status read(const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) const;
  TensorBytes reader() const {
    return [this](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) { return read(t, offset, out); };
  }
  /// Matrices that became float16 because their rows are no multiple of the format's block.
  uint64_t indivisible() const { return indivisible_; }

 private:
  Recast(const Checkpoint& file, RecastEdit edit) : file_(&file), edit_(std::move(edit)) {}
  const Checkpoint* file_;
  RecastEdit edit_;
  std::vector<TensorInfo> tensors_;
  uint64_t indivisible_ = 0;
};

/// A checkpoint whose matrices are of other formats when they are read (Recast).
Result<Checkpoint> recast_checkpoint(Checkpoint file, const std::vector<Format>& formats);

/// `general.file_type` (and the version of block formats) as llama.cpp numbers a file whose matrices are mostly
/// `format`.
void set_file_type(GgufMetadata* metadata, std::span<const TensorInfo> tensors);

}  // namespace vibee
