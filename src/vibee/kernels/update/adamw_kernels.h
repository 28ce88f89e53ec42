// SPDX-License-Identifier: Apache-2.0
// AdamW on V16; included by adamw_<isa>.cc only.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/update/adamw.h"

namespace vibee {
namespace {

void adamw_elements(const AdamWStep& s, const float* g, uint64_t n, float* w, float* m, float* v) {
  const V16 one = v_set(1.0f), beta1 = v_set(s.beta1), beta2 = v_set(s.beta2);
  for (uint64_t i = 0; i < n; i += 16) {
    const int left = int(n - i < 16 ? n - i : 16);
    const V16 x = v_load_n(g + i, left) * v_set(s.scale);
    const V16 first = v_fma(one - beta1, x, beta1 * v_load_n(m + i, left));
    const V16 second = v_fma((one - beta2) * x, x, beta2 * v_load_n(v + i, left));
    const V16 by = first / v_fma(v_sqrt(second), v_set(s.root), v_set(s.eps));
    v_store_n(m + i, first, left);
    v_store_n(v + i, second, left);
    v_store_n(w + i, v_fma(v_set(-s.step), by, v_load_n(w + i, left) * v_set(s.keep)), left);
  }
}

}  // namespace
}  // namespace vibee
