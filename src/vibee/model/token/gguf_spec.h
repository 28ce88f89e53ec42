// SPDX-License-Identifier: Apache-2.0
// A tokenizer in the words of GGUF: the inverse of expand_gguf.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

struct GgufTokenizer {
  TokenizerSpec spec;                 ///< not expanded: model, pre, tokens, scores, types, merges, ids, flags
  std::vector<std::string> warnings;  ///< what GGUF has no words for, each with what it changes
};

/// The GGUF tokenizer that does what the expanded `spec` does: its steps are compared with those of every name that
/// GGUF knows. The vocabulary is filled up to `rows` tokens, the rows of the embedding. Code::unsupported, naming the
/// step, where no name means these steps.
Result<GgufTokenizer> gguf_tokenizer(const TokenizerSpec& spec, size_t rows);

}  // namespace vibee
