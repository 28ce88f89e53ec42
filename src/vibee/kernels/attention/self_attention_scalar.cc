// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/self_attention_kernels.h"

namespace vibee {

void self_attention_backward_scalar(const AttentionShape& shape, const SelfAttentionGradient& x,
                                    const AttentionItem& item, uint8_t* scratch) {
  backward_item<1>(shape, x, item, scratch);
}

}  // namespace vibee
