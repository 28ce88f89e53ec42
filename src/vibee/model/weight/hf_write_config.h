// SPDX-License-Identifier: Apache-2.0
// config.json from GGUF's metadata: the inverse of the tables.
#pragma once

#include "vibee/model/weight/hf_config.h"

namespace vibee {

/// The text of config.json; an error names the key that it cannot say. `more`: one more, whose value is the JSON object
/// `value`; empty: none.
Result<std::string> write_hf_config(const HfArchitecture& hf, const Checkpoint& file, Format format,
                                    std::string_view more = {}, const std::string& value = {});

}  // namespace vibee
