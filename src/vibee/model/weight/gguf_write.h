// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files, version 3: the header first, then tensors in their order as they are read, nothing held in memory
// but a slice. The file appears whole or not at all.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// Told after every slice; false stops the work with Code::cancelled, and nothing is left behind but what `resume` asks
/// for.
using WriteProgress = std::function<bool(uint64_t done, uint64_t total)>;

/// Fills `out` with bytes [offset, offset + out.size()) of a tensor as it is to be written.
using TensorBytes = std::function<Status(const TensorInfo&, uint64_t offset, std::span<uint8_t> out)>;

struct GgufWrite {
  WriteProgress progress = nullptr;
  /// What the tensors' bytes come from, in any words. A write that is stopped leaves what it has in PATH.part and
  /// PATH.pieces, and one of the same words, metadata and tensors goes on with that. Empty: nothing is left behind.
  std::string resume = {};
  uint64_t* resumed = nullptr;  ///< gets the bytes that stood there already
  /// Called with the path of the whole file before it gets its name; it may change values of the metadata that keep
  /// their lengths. Its error leaves the file without a name.
  std::function<Status(const std::string& temporary, GgufMetadata* metadata)> finish = nullptr;
};

/// Metadata values are written byte for byte; tensors at multiples of general.alignment (32 where it is missing), their
/// `offset` fields are not read. Slices are whole rows.
Status write_gguf(const std::string& path, const GgufMetadata& metadata, std::span<const TensorInfo> tensors,
                  const TensorBytes& read, const GgufWrite& options = {});

/// Bytes in front of the first tensor's.
uint64_t gguf_header_bytes(const GgufMetadata& metadata, std::span<const TensorInfo> tensors);
/// Bytes of a tensor with those up to the next one.
uint64_t gguf_padded_bytes(const GgufMetadata& metadata, uint64_t bytes);

}  // namespace vibee
