// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/adamw.h"

#include <cmath>

namespace vibee {

AdamWStep adamw_step(const AdamW& o, uint64_t t, bool decays) {
  const double first = 1 - std::pow(o.beta1, double(t)), second = 1 - std::pow(o.beta2, double(t));
  return {float(o.beta1),
          float(o.beta2),
          float(decays ? 1 - o.rate * o.decay : 1.0),
          float(o.rate / first),
          float(1 / std::sqrt(second)),
          float(o.eps)};
}

AdamWKernel adamw_kernel(Isa isa) {
  return isa == Isa::avx512 ? adamw_avx512 : isa == Isa::avx2 ? adamw_avx2 : adamw_scalar;
}

}  // namespace vibee
