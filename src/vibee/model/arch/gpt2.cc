// SPDX-License-Identifier: Apache-2.0
// GPT-2 (Radford et al. 2019): layer norms with biases, learned positions, GELU without a gate, biases everywhere.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_gpt2(const Checkpoint& file, ModelConfig* c) {
  c->layer_norm = c->learned_positions = true;
  c->gated = false;
  c->activation = Gate::gelu_tanh;
  return read_common(file, c);
}

}  // namespace vibee
