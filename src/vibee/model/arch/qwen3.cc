// SPDX-License-Identifier: Apache-2.0
// Qwen 3 (arXiv:2505.09388): norms on every query and key head instead of biases; rotary pairs are split halves.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_qwen3(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  return {};
}

}  // namespace vibee
