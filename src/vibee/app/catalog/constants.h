// SPDX-License-Identifier: Apache-2.0
// The constants of the tree: V = n * 3^k * pi^m * phi^p * e^q as a number family, and the search for the member nearest
// to a value.
#pragma once

#include <cstdint>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

inline constexpr double kPhi = 1.618033988749895;
inline constexpr double kTargetSpeedUp = kPhi * kPhi * kPhi;      ///< phi^3 = 4.236
inline constexpr double kSpeedUpCeiling = kTargetSpeedUp * kPhi;  ///< phi^4 = 6.854
constexpr double trinity_error() { return kPhi * kPhi + 1 / (kPhi * kPhi) - 3; }
static_assert(trinity_error() < 1e-15 && trinity_error() > -1e-15, "phi^2 + 1/phi^2 = 3 to the rounding of double");

/// One member of the family.
struct ConstantFormula {
  uint32_t n = 1;
  int k = 0, m = 0, p = 0, q = 0;
  double value = 0, relative_error = 0;  ///< (value - wanted) / wanted
  /// "2 * 3^2 * pi^-1"; factors to the power 0 are left out.
  std::string text() const;
};

/// The search's bounds: 1 <= n <= max_n and every exponent from -max_exponent to max_exponent.
struct ConstantBounds {
  uint32_t max_n = 9;
  int max_exponent = 4;
};

/// The member nearest to `wanted`; among equals the simplest (least n + |exponents|). Refuses what is not positive and
/// finite.
Result<ConstantFormula> nearest_constant(double wanted, const ConstantBounds& bounds);
/// The simplest member within `tolerance` (relative) of `wanted`; an error when there is none.
Result<ConstantFormula> simplest_constant(double wanted, double tolerance, const ConstantBounds& bounds);

}  // namespace vibee
