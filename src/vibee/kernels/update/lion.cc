// SPDX-License-Identifier: Apache-2.0
// Lion (Chen et al. 2023, arXiv:2302.06675), weight decay as theirs: a step of one size in each element, whose sign is
// that of a moment between the one that is kept and the gradient.
#include "vibee/kernels/update/update_rule.h"

namespace vibee {

uint32_t lion_moments(const Optimiser&) { return 1; }

UpdateStep lion_step(const Optimiser& o, uint64_t, bool decays) {
  return {1, {float(o.beta1), float(o.beta2), float(decays ? 1 - o.rate * o.decay : 1.0), float(o.rate)}};
}

}  // namespace vibee
