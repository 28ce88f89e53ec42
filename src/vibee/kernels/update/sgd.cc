// SPDX-License-Identifier: Apache-2.0
// Gradient descent with momentum, and Nesterov's, in the form of torch.optim.SGD: what shrinks the weights goes through
// the momentum, and the rate does not.
#include "vibee/kernels/update/update_rule.h"

namespace vibee {

uint32_t sgd_moments(const Optimiser& o) { return o.momentum > 0 ? 1 : 0; }

UpdateStep sgd_step(const Optimiser& o, uint64_t, bool decays) {
  const bool ahead = o.nesterov || o.momentum == 0;  // the gradient itself moves the weight
  return {1,
          {float(o.momentum), float(decays ? o.decay : 0.0), float(ahead ? 1 : 0),
           float(o.nesterov       ? o.momentum
                 : o.momentum > 0 ? 1.0
                                  : 0.0),
           float(o.rate)}};
}

}  // namespace vibee
