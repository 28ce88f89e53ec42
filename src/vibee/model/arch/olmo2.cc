// SPDX-License-Identifier: Apache-2.0
// OLMo 2 (arXiv:2501.00656): norms after each block instead of before, and of whole rows of queries and keys.
#include "vibee/model/arch/arch.h"

namespace vibee {

Status configure_olmo2(const Checkpoint& file, ModelConfig* c) {
  VIBEE_TRY(read_common(file, c));
  c->split_halves = c->post_norms = true;
  c->pre_norms = false;
  return {};
}

}  // namespace vibee
