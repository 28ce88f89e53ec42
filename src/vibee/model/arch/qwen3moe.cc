// SPDX-License-Identifier: Apache-2.0
// Qwen 3 with experts (arXiv:2505.09388): every layer routes to expert_used_count of expert_count experts, whose
// weights are made to sum to one.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_qwen3moe(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  if (c->experts == 0) return error(Code::corrupt, "{}: key 'qwen3moe.expert_count' is missing", file.path());
  c->split_halves = true;
  return {};
}

}  // namespace vibee
