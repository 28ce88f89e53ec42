// SPDX-License-Identifier: Apache-2.0
// A checkpoint's tensors in other number formats, decoded and encoded slice by slice as they are read.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "vibee/base/thread/team.h"
#include "vibee/model/weight/gguf_write.h"

namespace vibee {

/// What is done to a tensor's rows, as floats and from row `first` on, on their way. From several threads at once.
struct RecastEdit {
  std::function<bool(const std::string& tensor)> touches = [](const std::string&) { return false; };
  std::function<Status(const std::string& tensor, uint64_t first, std::span<float> rows)> apply = {};
};

/// Encodes whole rows of a tensor, which it may change, in the place of its format's own encoder. From several threads
/// at once, so many rows at most.
struct RowEncoder {
  std::function<void(std::span<float> rows, uint8_t* out)> encode;
  uint64_t rows = 1;
};

struct RecastOptions {
  /// The format of a matrix; without it every tensor keeps its own.
  std::function<Format(const TensorInfo&)> format = {};
  RecastEdit edit = {};
  /// How much each column of a tensor matters to its encoder: row_length() numbers, or so many for each of shape[2]
  /// matrices; empty: all alike.
  std::function<std::span<const float>(const TensorInfo&)> importance = {};
  /// Who encodes a tensor (as it will be) instead; nothing: its format. Asked before a slice of it is read.
  std::function<Result<std::shared_ptr<const RowEncoder>>(const TensorInfo&)> encoder = {};
  Team* team = nullptr;  ///< that encodes; null: the caller alone
};

class Recast {
 public:
  /// Vectors keep their formats. Learned positions, token types and routers, which formats of blocks would hurt for
  /// nothing, become float32 where the wanted one has blocks; rows that it does not divide take the one that fits
  /// (`fitting`). A weight whose columns are sorted (kOrderSuffix) gets them back in the order of its inputs when it is
  /// decoded, and its order is left out. Refuses a format that only reading is built for, also of a tensor that is
  /// edited. `file` must outlive this.
  static Result<Recast> create(const Checkpoint& file, RecastOptions options);

  /// As they will be; offsets are not set.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// Bytes of one of them; offset and length are whole rows. With a team from one thread at a time. Refuses numbers
  /// that are not finite where blocks would make others of them.
  Status read(const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) const;
  TensorBytes reader() const {
    return [this](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) { return read(t, offset, out); };
  }
  /// Matrices that are in another format than was wanted because its blocks do not divide their rows.
  uint64_t indivisible() const { return indivisible_; }

 private:
  Recast(const Checkpoint& file, RecastOptions options) : file_(&file), options_(std::move(options)) {}
  struct Rows;
  struct Scratch {
    std::vector<float> floats, sorted, importance;
  };
  Status recast_rows(const Rows& rows, uint64_t first, uint64_t count, Scratch* scratch) const;
  const Checkpoint* file_;
  RecastOptions options_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::vector<float>, std::less<>> orders_;  ///< of columns that are put back
  uint64_t indivisible_ = 0;
};

/// RecastOptions::format of one format for all.
inline std::function<Format(const TensorInfo&)> all_in(Format format) {
  return [format](const TensorInfo&) { return format; };
}
/// The same of several: a matrix takes the first whose blocks divide its rows.
std::function<Format(const TensorInfo&)> all_in(std::vector<Format> formats);

/// A tensor of a recast as floats, for `holder`, which can only hold finite numbers: others are an error.
Result<std::vector<float>> finite_floats(const Recast& recast, std::string_view tensor, std::string_view holder);

/// A checkpoint that is recast when it is read (Recast), on the caller's thread.
Result<Checkpoint> recast_checkpoint(Checkpoint file, RecastOptions options);
/// The same, of other formats alone, edited before.
Result<Checkpoint> recast_checkpoint(Checkpoint file, std::function<Format(const TensorInfo&)> format,
                                     RecastEdit edit = {});

/// `general.file_type` (and the version of block formats) as llama.cpp numbers a file whose matrices are mostly
/// `format`.
void set_file_type(GgufMetadata* metadata, std::span<const TensorInfo> tensors);

}  // namespace vibee
