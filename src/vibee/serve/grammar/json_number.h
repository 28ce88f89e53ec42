// SPDX-License-Identifier: Apache-2.0
// The numbers of a JSON schema as regular expressions: bounds by comparing digits, multiples by remainders.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vibee/serve/grammar/regular.h"

namespace vibee {

/// A number written out: no exponent, no zeros that say nothing.
struct Decimal {
  bool negative = false;
  std::string whole = "0", fraction;
  bool zero() const { return whole == "0" && fraction.empty(); }
  std::string text() const;
};
/// Of a number in JSON's notation; nothing when it would take more than 400 digits.
std::optional<Decimal> parse_decimal(std::string_view text);
/// Below 0, 0, above 0 as a is less than, equal to, greater than b.
int compare(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool open;  ///< the value itself is outside
};

struct NumberRule {
  bool integer = false;
  std::optional<Bound> low, high;
  uint32_t modulus = 1;                   ///< whole numbers that it divides
  std::optional<uint32_t> fraction = {};  ///< digits behind the point, at most
  bool any_length = false;
};
/// Without bounds numbers may have exponents. With bounds they have none, and few enough digits that no reader's
/// rounding to a double carries one over a bound, unless they may have `any_length`.
Re json_number(Regular& regular, const NumberRule& rule);

}  // namespace vibee
