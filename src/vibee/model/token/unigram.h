// SPDX-License-Identifier: Apache-2.0
// Unigram language model: of all ways to spell a word with tokens the one with the best sum of scores.
// Source: Kudo 2018, "Subword Regularization".
#pragma once

#include <memory>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// `spec` must have passed make_tokenizer's checks.
std::unique_ptr<Tokenizer> make_unigram(TokenizerSpec spec);

}  // namespace vibee
