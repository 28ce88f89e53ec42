// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/self_attention_kernels.h"

namespace vibee {

void self_attention_backward_avx2(const AttentionShape& shape, const SelfAttentionGradient& x, Document document,
                                  uint32_t kv_head, uint8_t* scratch) {
  backward_item<1>(shape, x, document, kv_head, scratch);
}

}  // namespace vibee
