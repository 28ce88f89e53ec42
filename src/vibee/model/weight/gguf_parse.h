// SPDX-License-Identifier: Apache-2.0
// The parser behind Checkpoint: reads the header front to back through a small window, checks every number where it
// reads it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "vibee/model/weight/gguf.h"

namespace vibee {

/// Bytes of a scalar of this type, 0 for strings and arrays.
uint32_t gguf_scalar_bytes(GgufType type);

class GgufParser {
 public:
  GgufParser(std::shared_ptr<const ByteSource> source, std::string name);
  Result<Checkpoint> run();

 private:
  uint64_t left() const { return file_.source_->size() - position_; }
  Status at(Code code, uint64_t offset, std::string_view what) const;
  Status bytes(uint8_t* out, uint64_t n, std::string_view what);
  Result<uint32_t> u32(std::string_view what);
  Result<uint64_t> u64(std::string_view what);
  Result<std::string> text(uint64_t limit, std::string_view what);

  Status header();
  Status metadata();
  Status value(GgufValue& value, const std::string& key);
  Status elements(GgufType type, uint64_t count, int depth, std::vector<uint8_t>& out, const std::string& key);
  Status check_bools(const GgufValue& value, const std::string& key) const;
  Status alignment();
  Status tensor_infos();
  Status tensor(TensorInfo& info, uint64_t& relative);
  Status place(const std::vector<uint64_t>& relative);
  Status append(uint64_t n, std::vector<uint8_t>& out, const std::string& key);

  Checkpoint file_;
  uint64_t position_ = 0;
  uint64_t window_start_ = 0;
  std::vector<uint8_t> window_;
  uint64_t kept_ = 0;  // metadata bytes held in memory
  uint64_t key_count_ = 0, tensor_count_ = 0, alignment_ = 32;
};

}  // namespace vibee
