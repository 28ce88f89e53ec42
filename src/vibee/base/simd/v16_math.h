// SPDX-License-Identifier: Apache-2.0
// The functions of base/math/exp2.h on V16, by the same operations in the same order. Include after one v16_<isa>.h.
#pragma once

#include "vibee/base/math/exp2.h"

namespace vibee {
namespace {

inline V16 v_exp2(V16 x) {
  const V16 n = v_round(v_min(v_set(127.0f), v_max(v_set(-126.0f), x)));
  const V16 f = x - n;
  V16 p = v_set(kExp2[6]);
  for (int i = 5; i >= 0; --i) p = v_fma(p, f, v_set(kExp2[i]));
  p = p * v_pow2(n);
  p = v_select(v_less(x, v_set(-126.0f)), v_zero(), p);
  return v_select(v_less(v_set(127.0f), x), v_set(INFINITY), p);
}
inline V16 v_exp(V16 x) { return v_exp2(x * v_set(kLog2E)); }
inline V16 v_sigmoid(V16 x) { return v_set(1.0f) / (v_set(1.0f) + v_exp(v_zero() - x)); }
inline V16 v_silu(V16 x) { return x / (v_set(1.0f) + v_exp(v_zero() - x)); }
inline V16 v_tanh(V16 x) { return v_set(1.0f) - v_set(2.0f) / (v_exp(v_set(2.0f) * x) + v_set(1.0f)); }
inline V16 v_gelu_tanh(V16 x) {
  const V16 u = v_set(0.797884560802865356f) * v_fma(v_set(0.044715f) * x * x, x, x);
  return x / (v_set(1.0f) + v_exp(v_set(-2.0f) * u));
}
inline V16 v_gelu(V16 x) {
  const V16 z = v_abs(x) * v_set(0.70710678118654752f);
  const V16 t = v_set(1.0f) / v_fma(v_set(kErfcT), z, v_set(1.0f));
  V16 p = v_set(kErfc[4]);
  for (int i = 3; i >= 0; --i) p = v_fma(p, t, v_set(kErfc[i]));
  const V16 r = p * t * v_exp((v_zero() - z) * z);
  return v_set(0.5f) * x * v_select(v_less(x, v_zero()), r, v_set(2.0f) - r);
}

}  // namespace
}  // namespace vibee
