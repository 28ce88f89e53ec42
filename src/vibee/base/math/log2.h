// SPDX-License-Identifier: Apache-2.0
// log2 of a positive finite double, the same bits on every machine; error below 1e-15 (1 + |log2 x|).
#pragma once

#include <cmath>

namespace vibee {

/// x = m 2^e with m in [1/sqrt 2, sqrt 2); log m = 2 (z + z^3/3 + z^5/5 + ...), z = (m - 1) / (m + 1), |z| <= 0.172.
inline double log2_of(double x) {
  int e;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) m *= 2, --e;
  const double z = (m - 1) / (m + 1), square = z * z;
  double sum = 1.0 / 21;
  for (int i = 19; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  return e + 2 * 1.4426950408889634 * z * sum;
}

}  // namespace vibee
