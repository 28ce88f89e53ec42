// SPDX-License-Identifier: Apache-2.0
// Gemma (Gemma Team 2024, arXiv:2403.08295): GELU gate, embeddings scaled by sqrt(dim). Norm weights in GGUF already
// hold 1 + w.
#include <cmath>

#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_gemma(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  c->activation = Gate::gelu_tanh;
  c->embed_scale = std::sqrt(float(c->dim));
  return {};
}

}  // namespace vibee
