// SPDX-License-Identifier: Apache-2.0
// Bytes at offsets: a file read by pread (never mapped: a mapped file that shrinks kills the process) or a span of
// memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  /// Fills all of `out`, or an error that does not name the source. May be called from several threads.
  virtual Status read(uint64_t offset, std::span<uint8_t> out) const = 0;
};

/// A regular file, or the model in the binary by its path; the error names it.
Result<std::shared_ptr<const ByteSource>> open_file_source(const std::string& path);
std::shared_ptr<const ByteSource> memory_source(std::vector<uint8_t> bytes);
/// The same of bytes that outlive it.
std::shared_ptr<const ByteSource> memory_view(std::span<const uint8_t> bytes);
/// A whole small file; an error when it has more than `limit` bytes.
Result<std::string> read_small_file(const std::string& path, uint64_t limit);

}  // namespace vibee
