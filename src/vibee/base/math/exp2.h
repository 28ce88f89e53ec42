// SPDX-License-Identifier: Apache-2.0
// Transcendental functions whose bits are ours: one polynomial each, evaluated by written-out fma in one order, so that
// the scalar reference and every vector kernel agree to the last bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace vibee {

/// Coefficients of 2^f on f in [-0.5, 0.5], degree 6, minimax in relative error: 2e-9 before rounding.
inline constexpr float kExp2[7] = {1.0f,           0.693147182f,  0.240226477f,  0.0555033237f,
                                   0.00961843692f, 0.0013398875f, 0.00015353362f};
inline constexpr float kLog2E = 1.44269504088896341f;

/// 2^x. Below -126 the result is 0, above 127 it is infinity; NaN stays NaN.
inline float exp2_fixed(float x) {
  if (!(x >= -126.0f)) return x != x ? x : 0.0f;
  if (x > 127.0f) return INFINITY;
  const float n = std::nearbyint(x);
  const float f = x - n;
  float p = kExp2[6];
  for (int i = 5; i >= 0; --i) p = std::fma(p, f, kExp2[i]);
  return p * std::bit_cast<float>(uint32_t(int32_t(n) + 127) << 23);
}
/// e^x by exp2_fixed(x * log2 e); relative error grows with |x| as 2^-24 |x|.
inline float exp_fixed(float x) { return exp2_fixed(x * kLog2E); }
inline float sigmoid_fixed(float x) { return 1.0f / (1.0f + exp_fixed(-x)); }
inline float silu_fixed(float x) { return x / (1.0f + exp_fixed(-x)); }
/// tanh by its exponential form; saturates to +-1.
inline float tanh_fixed(float x) { return 1.0f - 2.0f / (exp_fixed(2.0f * x) + 1.0f); }
/// GELU, tanh form (Hendrycks and Gimpel 2016): 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 u).
inline float gelu_tanh_fixed(float x) {
  const float u = 0.797884560802865356f * std::fma(0.044715f * x * x, x, x);
  return x / (1.0f + exp_fixed(-2.0f * u));
}

/// The complementary error function for z >= 0 (Abramowitz and Stegun 7.1.26); absolute error below 1.5e-7.
inline constexpr float kErfc[5] = {0.254829592f, -0.284496736f, 1.421413741f, -1.453152027f, 1.061405429f};
inline constexpr float kErfcT = 0.3275911f;
inline float erfc_fixed(float z) {
  const float t = 1.0f / std::fma(kErfcT, z, 1.0f);
  float p = kErfc[4];
  for (int i = 3; i >= 0; --i) p = std::fma(p, t, kErfc[i]);
  return p * t * exp_fixed(-z * z);
}
/// GELU by the error function: x Phi(x).
inline float gelu_fixed(float x) {
  const float r = erfc_fixed(std::fabs(x) * 0.70710678118654752f);
  return 0.5f * x * (x < 0 ? r : 2.0f - r);
}

}  // namespace vibee
