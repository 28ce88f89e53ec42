// SPDX-License-Identifier: Apache-2.0
// AdamW on V16: w *= keep; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= rate m / (sqrt(v) root +
// eps).
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/update/update_rule.h"

namespace vibee {
namespace {

void adamw_elements(const UpdateStep& s, const float* g, uint64_t n, float* w, float* const* moments) {
  const auto [beta1, beta2, keep, rate, root, eps] = s.constants;
  float *const m = moments[0], *const v = moments[1];
  const V16 one = v_set(1.0f), by1 = v_set(beta1), by2 = v_set(beta2);
  for (uint64_t i = 0; i < n; i += 16) {
    const int left = int(n - i < 16 ? n - i : 16);
    const V16 x = v_load_n(g + i, left) * v_set(s.scale);
    const V16 first = v_fma(one - by1, x, by1 * v_load_n(m + i, left));
    const V16 second = v_fma((one - by2) * x, x, by2 * v_load_n(v + i, left));
    const V16 by = first / v_fma(v_sqrt(second), v_set(root), v_set(eps));
    v_store_n(m + i, first, left);
    v_store_n(v + i, second, left);
    v_store_n(w + i, v_fma(v_set(-rate), by, v_load_n(w + i, left) * v_set(keep)), left);
  }
}

}  // namespace
}  // namespace vibee
