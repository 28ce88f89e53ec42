// SPDX-License-Identifier: Apache-2.0
// BPE: merges by rank inside a word. Byte-level as of GPT-2, where every byte is a symbol, or on characters.
// Source: Radford et al. 2019 and its encoder.py; Sennrich et al. 2016 for the merges.
#pragma once

#include <memory>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// `spec` must have passed make_tokenizer's checks; merges are checked here.
Result<std::unique_ptr<Tokenizer>> make_bpe(TokenizerSpec spec);

}  // namespace vibee
