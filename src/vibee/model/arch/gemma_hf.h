// SPDX-License-Identifier: Apache-2.0
// What directories of Gemma 2 and 3 have in common: norms before and after each block, layers that are local in a
// pattern, scores scaled by the head dimension, or in the largest model by the width a head.
#pragma once

#include "vibee/model/arch/arch.h"

namespace vibee {

/// Their base: keys, tensors and fixed keys.
extern const HfArchitecture kHfGemma;

struct GemmaShape {
  uint64_t widest_layers;       ///< of the model whose scores are scaled by its width a head
  bool (*local)(size_t layer);  ///< the pattern
  std::string_view pattern;     ///< in words
};
/// Refuses scales and patterns that are not those of `shape`.
Status check_gemma(const JsonValue& config, const GemmaShape& shape);
/// Adds query_pre_attn_scalar; `id` is general.architecture.
void complete_gemma(const Checkpoint& file, std::string_view id, const GemmaShape& shape, JsonObject* config);

}  // namespace vibee
