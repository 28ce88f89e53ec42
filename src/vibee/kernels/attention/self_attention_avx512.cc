// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/self_attention_kernels.h"

namespace vibee {

void self_attention_backward_avx512(const AttentionShape& shape, const SelfAttentionGradient& x,
                                    const AttentionItem& item, uint8_t* scratch) {
  backward_item<4>(shape, x, item, scratch);
}

}  // namespace vibee
