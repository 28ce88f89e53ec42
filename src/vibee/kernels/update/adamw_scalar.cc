// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/adamw_kernels.h"

namespace vibee {

void adamw_scalar(const AdamWStep& step, const float* g, uint64_t n, float* w, float* m, float* v) {
  adamw_elements(step, g, n, w, m, v);
}

}  // namespace vibee
