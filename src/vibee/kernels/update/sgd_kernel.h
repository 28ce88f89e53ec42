// SPDX-License-Identifier: Apache-2.0
// Gradient descent on V16: g += decay w; m = momentum m + g; w -= rate (of_gradient g + of_moment m). Without momentum
// there is no m.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/update/update_rule.h"

namespace vibee {
namespace {

void sgd_elements(const UpdateStep& s, const float* g, uint64_t n, float* w, float* const* moments) {
  const auto [momentum, decay, of_gradient, of_moment, rate, unused] = s.constants;
  for (uint64_t i = 0; i < n; i += 16) {
    const int left = int(n - i < 16 ? n - i : 16);
    const V16 old = v_load_n(w + i, left);
    const V16 x = v_fma(v_set(decay), old, v_load_n(g + i, left) * v_set(s.scale));
    V16 by = x;
    if (momentum != 0) {
      const V16 m = v_fma(v_set(momentum), v_load_n(moments[0] + i, left), x);
      v_store_n(moments[0] + i, m, left);
      by = v_fma(v_set(of_moment), m, v_set(of_gradient) * x);
    }
    v_store_n(w + i, v_fma(v_set(-rate), by, old), left);
  }
}

}  // namespace
}  // namespace vibee
