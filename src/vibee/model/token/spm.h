// SPDX-License-Identifier: Apache-2.0
// SentencePiece BPE (Llama 2, Gemma): adjacent pieces merge by the best score of what they make; what the vocabulary
// cannot spell becomes byte tokens. Source: Kudo & Richardson 2018 and sentencepiece's bpe_model.cc.
#pragma once

#include <memory>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// `spec` must have passed make_tokenizer's checks.
std::unique_ptr<Tokenizer> make_spm(TokenizerSpec spec);

}  // namespace vibee
