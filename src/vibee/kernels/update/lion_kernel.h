// SPDX-License-Identifier: Apache-2.0
// Lion on V16: w = keep w - rate sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g. The sign of 0 is 0.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/update/update_rule.h"

namespace vibee {
namespace {

void lion_elements(const UpdateStep& s, const float* g, uint64_t n, float* w, float* const* moments) {
  const auto [beta1, beta2, keep, rate, unused, unused2] = s.constants;
  float* const m = moments[0];
  const V16 one = v_set(1.0f), by1 = v_set(beta1), by2 = v_set(beta2);
  for (uint64_t i = 0; i < n; i += 16) {
    const int left = int(n - i < 16 ? n - i : 16);
    const V16 x = v_load_n(g + i, left) * v_set(s.scale), old = v_load_n(m + i, left);
    const V16 to = v_fma(one - by1, x, by1 * old);
    const V16 by = v_select(v_less(v_zero(), to), one, v_select(v_less(to, v_zero()), v_set(-1.0f), v_zero()));
    v_store_n(m + i, v_fma(one - by2, x, by2 * old), left);
    v_store_n(w + i, v_fma(v_set(-rate), by, v_load_n(w + i, left) * v_set(keep)), left);
  }
}

}  // namespace
}  // namespace vibee
