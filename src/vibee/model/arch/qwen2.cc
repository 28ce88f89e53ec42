// SPDX-License-Identifier: Apache-2.0
// Qwen 2 and 2.5 (arXiv:2407.10671): Llama with biases on queries, keys and values; rotary pairs are split halves.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_qwen2(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = true;
  return {};
}

}  // namespace vibee
