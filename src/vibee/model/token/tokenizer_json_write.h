// SPDX-License-Identifier: Apache-2.0
// Writes the tokenizer files of transformers.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// The pipeline of an expanded spec as the objects of tokenizer.json, a text a step, in order. Steps that say the same
/// in other words have one form: what two specs do differently is where their lists part.
struct PipelineJson {
  std::vector<std::string> normalizers, pre_tokenizers, decoders;
};
PipelineJson pipeline_json(const TokenizerSpec& spec);

struct TokenizerFile {
  std::string name, text;
};

/// tokenizer.json, tokenizer_config.json, special_tokens_map.json and, where there is a template, chat_template.jinja;
/// read back they give the same ids. SentencePiece BPE becomes BPE with the merges of spm_merges.h. Refuses what
/// those files cannot say: texts that two tokens share or that are not UTF-8.
Result<std::vector<TokenizerFile>> write_tokenizer_files(TokenizerSpec spec);

/// Whether a token is there to fill the vocabulary up: unused, and without a text or called [PAD<id>] as converters to
/// GGUF do.
bool is_filler(const TokenizerSpec& spec, size_t id);

}  // namespace vibee
