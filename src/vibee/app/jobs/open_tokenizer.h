// SPDX-License-Identifier: Apache-2.0
// A tokenizer by what a user calls it: a model in the cache, its file or directory, or a tokenizer.json.
#pragma once

#include <memory>
#include <string>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// Of a tokenizer.json with what a tokenizer_config.json beside it says.
Result<TokenizerSpec> read_tokenizer_spec(const std::string& model);
Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& model);
/// tokenizer.json and the files beside it in `directory`, which is made where it is missing; their paths.
Result<std::vector<std::string>> write_tokenizer_directory(TokenizerSpec spec, const std::string& directory);

}  // namespace vibee
