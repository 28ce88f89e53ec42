// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files, version 3: the header first, then tensors in their order as they are read, nothing held in memory
// but a slice. The file appears whole or not at all.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// Told after every slice; false stops the work with Code::cancelled, and nothing is left behind.
using WriteProgress = std::function<bool(uint64_t done, uint64_t total)>;

/// Fills `out` with bytes [offset, offset + out.size()) of a tensor as it is to be written.
using TensorBytes = std::function<Status(const TensorInfo&, uint64_t offset, std::span<uint8_t> out)>;

/// Metadata values are written byte for byte; tensors at multiples of general.alignment (32 where it is missing), their
/// `offset` fields are not read. Slices are whole rows.
Status write_gguf(const std::string& path, const GgufMetadata& metadata, std::span<const TensorInfo> tensors,
                  const TensorBytes& read, const WriteProgress& progress = nullptr);

}  // namespace vibee
