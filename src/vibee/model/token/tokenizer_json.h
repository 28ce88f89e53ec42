// SPDX-License-Identifier: Apache-2.0
// tokenizer.json, the file format of Hugging Face tokenizers, and the parts of tokenizer_config.json that matter.
#pragma once

#include <string>
#include <string_view>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// `name` begins every message. What is not supported is Code::unsupported and names the field; nothing that changes
/// ids is passed over.
Result<TokenizerSpec> read_tokenizer_json(std::string_view json, const std::string& name);
/// Adds bos, eos, unk and pad tokens, add_bos_token, add_eos_token and the chat template to `spec`.
Status read_tokenizer_config(std::string_view json, const std::string& name, TokenizerSpec* spec);

}  // namespace vibee
