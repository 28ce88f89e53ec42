// SPDX-License-Identifier: Apache-2.0
// WordPiece: the longest token that begins a word, then the longest continuation, and so on; a word that cannot be
// spelled so is unknown. WordLevel: a word is a token. Source: BERT's tokenization.py.
#pragma once

#include <memory>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// `spec` must have passed make_tokenizer's checks.
std::unique_ptr<Tokenizer> make_wordpiece(TokenizerSpec spec);
std::unique_ptr<Tokenizer> make_wordlevel(TokenizerSpec spec);

}  // namespace vibee
