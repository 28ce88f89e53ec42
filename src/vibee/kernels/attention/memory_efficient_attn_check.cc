// SPDX-License-Identifier: Apache-2.0
// v1671: which parts of its specification (tree/serving.md) are not built yet; the family proves those that are.
#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {

Status check_memory_efficient_attn(CheckContext& context) {
  for (const char* part : {"backward", "bf16 keys and values", "ALiBi", "attention sinks", "document borders",
                           "rabe form", "CUDA kernels"})
    context.not_built(part);
  return check_family_kernels_attention(context, "memory_efficient_attn");
}

}  // namespace vibee
