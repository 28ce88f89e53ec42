// SPDX-License-Identifier: Apache-2.0
// Inputs of a linear as tests of solvers want them: they go together and differ in size.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "vibee/base/random/philox.h"

namespace vibee {

/// Mean of x x^T [k, k] over 400 rows x of k inputs with one cause.
inline std::vector<float> correlated_hessian(uint32_t k, RandomStream& random) {
  std::vector<float> h(uint64_t(k) * k), x(k), mix(k), size(k);
  for (float& v : mix) v = random.normal();
  for (float& v : size) v = std::exp(random.normal());
  for (uint32_t r = 0; r < 400; ++r) {
    const float cause = random.normal();
    for (uint32_t j = 0; j < k; ++j) x[j] = size[j] * (cause * mix[j] + 0.5f * random.normal());
    for (uint32_t i = 0; i < k; ++i)
      for (uint32_t j = 0; j < k; ++j) h[uint64_t(i) * k + j] += x[i] * x[j] / 400;
  }
  return h;
}

}  // namespace vibee
