// SPDX-License-Identifier: Apache-2.0
// SentencePiece BPE scores its tokens, tokenizer.json ranks its merges. This is the translation both ways that the
// converters of transformers use (generate_merges): every split of a token into two tokens is a merge, the best score
// first, of equal scores the longest left part first.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// The merges of tokens and their scores, best first. Tokens without `usable` neither are merged nor are parts.
/// Refuses vocabularies of so long tokens that their splits would take more than half a GB to look at.
Result<std::vector<TokenMerge>> merges_of_scores(std::span<const std::string> tokens, std::span<const double> scores,
                                                 const std::vector<bool>& usable);

/// Scores whose merges are exactly `merges` (0 and below; tokens that nothing merges to come last), or
/// Code::unsupported where no scores give them.
Result<std::vector<double>> scores_of_merges(std::span<const std::string> tokens, std::span<const TokenMerge> merges,
                                             const std::vector<bool>& usable);

}  // namespace vibee
