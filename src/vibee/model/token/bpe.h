// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE as of GPT-2: words by a pre-tokenizer, every byte a symbol, merges by rank.
// Source: Radford et al. 2019 and its encoder.py; Sennrich et al. 2016 for the merges.
#pragma once

#include <memory>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// `spec` must have passed make_tokenizer's checks; merges and pre-tokenizer are checked here.
Result<std::unique_ptr<Tokenizer>> make_byte_bpe(TokenizerSpec spec);

}  // namespace vibee
