// SPDX-License-Identifier: Apache-2.0
// The row kernels of gradients.h on V16; included by gradients_<isa>.cc only.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/pointwise/gradients.h"

namespace vibee {
namespace {

/// x - mean in the lanes that exist, zero in the others.
inline V16 centred_lanes(const float* x, uint32_t left, float mean) {
  const V16 v = v_load_n(x, int(left)) - v_set(mean);
  return left < 16 ? v_select(m_from_bits((1u << left) - 1), v, v_zero()) : v;
}

void norm_statistics(const float* x, uint32_t n, float eps, bool centred, float* mean, float* scale) {
  *mean = 0;
  if (centred) {
    V16 sum = v_zero();
    for (uint32_t i = 0; i < n; i += 16) sum = sum + v_load_n(x + i, int(n - i));
    *mean = v_sum(sum) / float(n);
  }
  V16 squares = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 v = centred_lanes(x + i, n - i, *mean);
    squares = v_fma(v, v, squares);
  }
  *scale = 1.0f / std::sqrt(v_sum(squares) / float(n) + eps);
}

/// With x^ the normed values and h = g * weight: (h - x^ mean(h x^) - [mean(h)]) * scale.
void norm_dx(const float* x, const float* weight, const float* g, uint32_t n, float eps, bool centred, float* out) {
  float mean, scale;
  norm_statistics(x, n, eps, centred, &mean, &scale);
  V16 along = v_zero(), shift = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 h = v_load_n(g + i, left) * v_load_n(weight + i, left);
    along = v_fma(h, centred_lanes(x + i, n - i, mean) * v_set(scale), along);
    shift = shift + h;
  }
  const V16 a = v_set(v_sum(along) / float(n)), s = v_set(centred ? v_sum(shift) / float(n) : 0.0f);
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 h = v_load_n(g + i, left) * v_load_n(weight + i, left);
    const V16 normed = centred_lanes(x + i, n - i, mean) * v_set(scale);
    v_store_n(out + i, (h - v_fma(normed, a, s)) * v_set(scale), left);
  }
}
void rms_norm_dx(const float* x, const float* weight, const float* g, uint32_t n, float eps, float* out) {
  norm_dx(x, weight, g, n, eps, false, out);
}
void layer_norm_dx(const float* x, const float* weight, const float* g, uint32_t n, float eps, float* out) {
  norm_dx(x, weight, g, n, eps, true, out);
}

void add_normed(const float* x, const float* g, float mean, float scale, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 normed = (v_load_n(x + i, left) - v_set(mean)) * v_set(scale);
    v_store_n(y + i, v_fma(v_load_n(g + i, left), normed, v_load_n(y + i, left)), left);
  }
}

V16 activation_slope(Gate gate, V16 x) {
  const V16 one = v_set(1.0f);
  if (gate == Gate::silu) {
    const V16 s = v_sigmoid(x);
    return s * v_fma(x, one - s, one);
  }
  if (gate == Gate::gelu_tanh) {  // x sigmoid(2u): s + x s (1 - s) 2u'
    const V16 square = x * x, c = v_set(2 * 0.797884560802865356f);
    const V16 s = v_sigmoid(c * v_fma(v_set(0.044715f) * square, x, x));
    return v_fma(x * s * (one - s), c * v_fma(v_set(3 * 0.044715f), square, one), s);
  }
  // Phi(x) + x phi(x), Phi as v_gelu computes it.
  const V16 z = v_abs(x) * v_set(0.70710678118654752f), bell = v_exp((v_zero() - z) * z);
  const V16 t = one / v_fma(v_set(kErfcT), z, one);
  V16 p = v_set(kErfc[4]);
  for (int i = 3; i >= 0; --i) p = v_fma(p, t, v_set(kErfc[i]));
  const V16 r = p * t * bell;
  const V16 phi = v_set(0.5f) * v_select(v_less(x, v_zero()), r, v_set(2.0f) - r);
  return v_fma(x * v_set(0.398942280401432678f), bell, phi);
}
void activation_dx(Gate gate, const float* x, const float* g, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    v_store_n(out + i, v_load_n(g + i, left) * activation_slope(gate, v_load_n(x + i, left)), left);
  }
}

void mul(const float* a, const float* b, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    v_store_n(out + i, v_load_n(a + i, left) * v_load_n(b + i, left), left);
  }
}

void cross_entropy_dx(float* x, uint32_t n, float sum, float by, float cap, uint32_t target) {
  const auto slope = [&](V16 capped) {
    const V16 t = capped / v_set(cap);
    return cap > 0 ? v_set(by) * (v_set(1.0f) - t * t) : v_set(by);
  };
  const float kept = x[target];
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 v = v_load_n(x + i, left);
    v_store_n(x + i, v_exp(v - v_set(sum)) * slope(v), left);
  }
  float one[16] = {kept};
  const V16 v = v_load(one);
  v_store(one, (v_exp(v - v_set(sum)) - v_set(1.0f)) * slope(v));
  x[target] = one[0];
}

constexpr GradientKernels kTable = {rms_norm_dx,   layer_norm_dx, norm_statistics, add_normed,
                                    activation_dx, mul,           cross_entropy_dx};

}  // namespace
}  // namespace vibee
