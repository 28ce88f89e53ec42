// SPDX-License-Identifier: Apache-2.0
// Sine and cosine in double by our own reduction and series: the same bits on every machine and C library.
#pragma once

#include <cmath>
#include <initializer_list>

namespace vibee {

/// sin and cos of x, absolute error below 1e-12 for |x| < 1e6.
inline void sincos_fixed(double x, double* s, double* c) {
  // pi/2 in two parts; k stays below 2^20, so k * high is exact to the fma.
  constexpr double kHigh = 1.5707963267948966, kLow = 6.123233995736766e-17;
  const double k = std::nearbyint(x * 0.6366197723675814);
  const double r = std::fma(-k, kLow, std::fma(-k, kHigh, x));
  const double z = r * r;
  // Taylor to r^15 and r^16: the next term is below 1e-16 at pi/4.
  double sp = -7.647163731819816e-13;
  for (double a : {1.6059043836821613e-10, -2.505210838544172e-08, 2.7557319223985893e-06, -0.0001984126984126984,
                   0.008333333333333333, -0.16666666666666666})
    sp = std::fma(sp, z, a);
  sp = std::fma(sp * z, r, r);
  double cp = 4.779477332387385e-14;
  for (double a : {-1.1470745597729725e-11, 2.08767569878681e-09, -2.755731922398589e-07, 2.48015873015873e-05,
                   -0.001388888888888889, 0.041666666666666664, -0.5})
    cp = std::fma(cp, z, a);
  cp = std::fma(cp, z, 1.0);
  switch (int(std::fmod(k, 4.0) + 4) % 4) {
    case 0: *s = sp, *c = cp; break;
    case 1: *s = cp, *c = -sp; break;
    case 2: *s = -sp, *c = -cp; break;
    default: *s = -cp, *c = sp; break;
  }
}

}  // namespace vibee
