// SPDX-License-Identifier: Apache-2.0
// What a directory of sentence-transformers says beside config.json: how rows become one embedding.
#pragma once

#include <string>
#include <string_view>

#include "vibee/model/weight/checkpoint.h"
#include "vibee/model/weight/json.h"

namespace vibee {

/// Reads modules.json, and of the modules it lists the pooling's config.json, into the metadata "ID.pooling_type" (a
/// key of GGUF) or "vibee.pooling" (where GGUF has no number), "vibee.normalise" and "vibee.text_tokens". A directory
/// without modules.json says nothing; modules and modes that are not built are errors that name file and field.
Status read_hf_pooling(const std::string& directory, std::string_view id, GgufMetadata* metadata);

/// Of a parsed pooling config.json; errors do not name the file.
Status read_pooling_config(const JsonValue& config, std::string_view id, GgufMetadata* metadata);

}  // namespace vibee
