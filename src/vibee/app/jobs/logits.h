// SPDX-License-Identifier: Apache-2.0
// Logits of a text's own positions.
#pragma once

#include <span>

#include "vibee/model/session/session.h"

namespace vibee {

/// Logits of tokens[first ..] into `out` [tokens.size() - first][vocabulary], in steps of as many rows as the session
/// takes. Errors: no tokens, more than the context, ids out of range, first beyond the tokens, an `out` of another
/// size.
Status prompt_logits(Session& session, std::span<const int32_t> tokens, size_t first, std::span<float> out);

}  // namespace vibee
