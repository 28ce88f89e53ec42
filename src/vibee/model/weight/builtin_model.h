// SPDX-License-Identifier: Apache-2.0
// The model that the binary carries (docs/default_model.md): a GGUF file that is read where it lies.
#pragma once

#include <memory>
#include <string_view>

#include "vibee/model/weight/byte_source.h"

namespace vibee {

/// What users call it, and the path that opens it; no file's path begins so.
inline constexpr std::string_view kBuiltinModel = "stories", kBuiltinPath = "builtin:stories";

std::shared_ptr<const ByteSource> builtin_model();

}  // namespace vibee
