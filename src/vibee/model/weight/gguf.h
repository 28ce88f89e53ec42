// SPDX-License-Identifier: Apache-2.0
// GGUF model files, versions 2 and 3, written for hostile input: everything is checked against the file's size before
// memory is taken, so a file of n bytes costs a small multiple of its metadata. Layout: ggml docs/gguf.md.
#pragma once

#include <span>
#include <string>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

/// A file, or the first of several parts; a missing part is named.
Result<Checkpoint> open_gguf(const std::string& path);
/// The same over memory; `name` stands in messages where the path would. One part of several is refused.
Result<Checkpoint> parse_gguf(std::span<const uint8_t> bytes, std::string name);

}  // namespace vibee
