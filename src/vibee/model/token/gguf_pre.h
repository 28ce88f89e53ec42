// SPDX-License-Identifier: Apache-2.0
// The names of tokenizer.ggml.pre and the pipelines they stand for. Sources: the tokenizer.json files of the models
// named, and the table of names in llama.cpp.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// How GPT-2 cuts words (its encoder.py).
inline constexpr const char* kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/// Fills the pipeline of a spec that has only GGUF's names; what is expanded already stays. Code::unsupported, naming
/// what is known, for a name without a row.
Status expand_gguf(TokenizerSpec* spec);
std::string known_pre_names();
/// One name of every pipeline.
std::vector<std::string> pre_names();

}  // namespace vibee
