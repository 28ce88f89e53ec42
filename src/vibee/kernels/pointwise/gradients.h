// SPDX-License-Identifier: Apache-2.0
// Row kernels of backward passes, beside those of pointwise.h and by the same rules: one source on V16, the same bytes
// on every instruction set, sums over 16 lanes in ascending tiles and a fixed tree. Gradients towards weights are
// chains over ascending rows, a row a call.
#pragma once

#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

struct GradientKernels {
  /// out = gradient of a norm of n values towards x; g is that of its result.
  void (*rms_norm_dx)(const float* x, const float* weight, const float* g, uint32_t n, float eps, float* out);
  void (*layer_norm_dx)(const float* x, const float* weight, const float* g, uint32_t n, float eps, float* out);
  /// What a norm divides by, inverted, and what it takes off before (0 for rms_norm).
  void (*norm_statistics)(const float* x, uint32_t n, float eps, bool centred, float* mean, float* scale);
  /// y += g * ((x - mean) * scale).
  void (*add_normed)(const float* x, const float* g, float mean, float scale, uint32_t n, float* y);
  /// out = g * gate'(x).
  void (*activation_dx)(Gate gate, const float* x, const float* g, uint32_t n, float* out);
  /// out = a * b; in place allowed.
  void (*mul)(const float* a, const float* b, uint32_t n, float* out);
  /// A row of logits x (capped where cap > 0), of which `sum` is the log of the sum of e^x, becomes the gradient of by
  /// * (sum - x[target]) towards the logits before the cap.
  void (*cross_entropy_dx)(float* x, uint32_t n, float sum, float by, float cap, uint32_t target);
};

const GradientKernels& gradient_kernels(Isa isa);

extern const GradientKernels gradient_kernels_scalar, gradient_kernels_avx2, gradient_kernels_avx512;

}  // namespace vibee
