// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) in one pass over weights and moments, in the form of
// torch.optim.AdamW. Elements are independent, so any split over threads gives the same bytes.
#pragma once

#include <cstdint>

#include "vibee/base/simd/isa.h"

namespace vibee {

struct AdamW {
  double rate = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1;
};
/// What one step does to every element: w *= keep; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// w -= step m / (sqrt(v) root + eps),
/// with g multiplied by `scale` first.
struct AdamWStep {
  float beta1, beta2, keep, step, root, eps, scale = 1;
};
/// Step t = 1, 2, ... of an optimiser; `decays`: whether the weights shrink.
AdamWStep adamw_step(const AdamW& optimiser, uint64_t t, bool decays);

using AdamWKernel = void (*)(const AdamWStep& step, const float* g, uint64_t n, float* w, float* m, float* v);
void adamw_scalar(const AdamWStep&, const float*, uint64_t, float*, float*, float*);
void adamw_avx2(const AdamWStep&, const float*, uint64_t, float*, float*, float*);
void adamw_avx512(const AdamWStep&, const float*, uint64_t, float*, float*, float*);
AdamWKernel adamw_kernel(Isa isa);

}  // namespace vibee
