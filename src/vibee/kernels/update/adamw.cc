// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) in the form of torch.optim.AdamW.
#include <cmath>

#include "vibee/kernels/update/update_rule.h"

namespace vibee {

uint32_t adamw_moments(const Optimiser&) { return 2; }

UpdateStep adamw_step(const Optimiser& o, uint64_t t, bool decays) {
  const double first = 1 - std::pow(o.beta1, double(t)), second = 1 - std::pow(o.beta2, double(t));
  return {1,
          {float(o.beta1), float(o.beta2), float(decays ? 1 - o.rate * o.decay : 1.0), float(o.rate / first),
           float(1 / std::sqrt(second)), float(o.eps)}};
}

}  // namespace vibee
