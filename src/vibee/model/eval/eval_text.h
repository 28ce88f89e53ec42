// SPDX-License-Identifier: Apache-2.0
// A text as the models of an evaluation read it.
#pragma once

#include <string_view>
#include <vector>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// Ids of a text that is data: what is spelled like a control token stays text. The first is BOS where the tokenizer
/// adds one.
inline Result<std::vector<int32_t>> eval_tokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> tokens;
  if (tokenizer.add_bos() && tokenizer.bos() >= 0) tokens.push_back(tokenizer.bos());
  VIBEE_TRY(tokenizer.encode(text, false, &tokens));
  return tokens;
}
/// What stands in the place of each window's first token; -1: nothing.
inline int32_t window_bos(const Tokenizer& tokenizer) { return tokenizer.add_bos() ? tokenizer.bos() : -1; }

}  // namespace vibee
