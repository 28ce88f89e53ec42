// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/json_number.h"

#include <algorithm>
#include <charconv>

namespace vibee {
namespace {

constexpr int kMaxDigits = 400;
constexpr uint32_t kDoubleDigits = 15;  // decimals of so many digits are different doubles

/// Expressions over the digits of numbers without sign; where they agree with the value so far is where they nest.
class Digits {
 public:
  explicit Digits(Regular& regular) : r_(regular), any_(range('0', '9')), tail_(r_.optional(point(at_least(1)))) {}

  /// Whole part without leading zeros, and a fraction of at most `most` digits.
  Re shape(uint32_t most) {
    const Re whole = r_.any_of({range('0', '0'), r_.concat(range('1', '9'), at_least(0))});
    return most == 0 ? whole : r_.concat(whole, r_.optional(point(r_.repeat(any_, 1, most))));
  }
  Re exponent() {
    const Re sign = r_.optional(r_.set(ByteSet().set('+').set('-')));
    const Re mark = r_.set(ByteSet().set('e').set('E'));
    return r_.optional(r_.concat(mark, r_.concat(sign, r_.repeat(any_, 1, 2))));
  }

  /// Numbers of at least (`open`: more than) `value`.
  Re above(const Decimal& value, bool open) {
    const std::string &w = value.whole, &f = value.fraction;
    const Re positive = r_.concat(at_least(0), r_.concat(range('1', '9'), at_least(0)));
    Re rest = open ? positive : at_least(0);
    for (size_t j = f.size(); j-- > 0;)
      rest = r_.any_of({r_.concat(range(char(f[j] + 1), '9'), at_least(0)), r_.concat(range(f[j], f[j]), rest)});
    Re equal = f.empty() && !open ? tail_ : point(rest);
    for (size_t i = w.size(); i-- > 0;)
      equal = r_.any_of(
          {larger_or_smaller(range(char(w[i] + 1), '9'), w.size() - 1 - i), r_.concat(range(w[i], w[i]), equal)});
    return r_.any_of({equal, r_.concat(at_least(uint32_t(w.size()) + 1), tail_)});
  }

  /// Numbers of at most (`open`: less than) `value`.
  Re below(const Decimal& value, bool open) {
    const std::string &w = value.whole, &f = value.fraction;
    Re rest = open ? Regular::kNothing : r_.repeat(range('0', '0'), 0, Regular::kForever);
    for (size_t j = f.size(); j-- > 0;) {
      std::vector<Re> parts = {r_.concat(range('0', char(f[j] - 1)), at_least(0)), r_.concat(range(f[j], f[j]), rest)};
      if (j > 0) parts.push_back(Regular::kEmpty);  // what is left out is zeros, and the value ends in none
      rest = r_.any_of(std::move(parts));
    }
    Re equal = point(r_.all_of({rest, at_least(1)}));
    if (!f.empty() || !open) equal = r_.optional(equal);
    for (size_t i = w.size(); i-- > 0;)
      equal = r_.any_of(
          {larger_or_smaller(range('0', char(w[i] - 1)), w.size() - 1 - i), r_.concat(range(w[i], w[i]), equal)});
    return r_.any_of({equal, r_.concat(r_.repeat(any_, 1, uint32_t(w.size()) - 1), tail_)});
  }

 private:
  Re range(char low, char high) {
    ByteSet set;
    for (int c = low; c <= high; ++c) set.set(size_t(c));
    return r_.set(set);
  }
  Re at_least(uint32_t digits) { return r_.repeat(any_, digits, Regular::kForever); }
  Re point(Re behind) { return r_.concat(r_.literal("."), behind); }
  Re larger_or_smaller(Re digit, size_t more) {
    return r_.concat(digit, r_.concat(r_.repeat(any_, uint32_t(more), uint32_t(more)), tail_));
  }

  Regular& r_;
  Re any_, tail_;
};

}  // namespace

std::string Decimal::text() const {
  return std::string(negative ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

std::optional<Decimal> parse_decimal(std::string_view text) {
  Decimal out;
  out.negative = text.starts_with('-');
  if (out.negative) text.remove_prefix(1);
  const size_t mark = std::min(text.find_first_of("eE"), text.size());
  std::string_view power = text.substr(std::min(mark + 1, text.size()));
  if (power.starts_with('+')) power.remove_prefix(1);
  int exponent = 0;
  if (!power.empty() && std::from_chars(power.data(), power.data() + power.size(), exponent).ec != std::errc())
    return {};
  if (std::abs(exponent) > kMaxDigits || mark > size_t(kMaxDigits)) return {};
  text = text.substr(0, mark);
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(0, point));
  digits += text.substr(std::min(point + 1, text.size()));
  int place = int(point) + exponent;  // of the point, from the first digit
  if (place <= 0) {
    digits.insert(0, size_t(1 - place), '0');
    place = 1;
  }
  if (size_t(place) > digits.size()) digits.append(size_t(place) - digits.size(), '0');
  out.whole = digits.substr(0, size_t(place));
  out.fraction = digits.substr(size_t(place));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size() - 1));
  out.fraction.erase(out.fraction.find_last_not_of('0') + 1);
  if (out.zero()) out.negative = false;
  return out;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = a.whole.size() != b.whole.size() ? (a.whole.size() < b.whole.size() ? -1 : 1) : a.whole.compare(b.whole);
  if (order == 0) order = a.fraction.compare(b.fraction);  // zeros at the end are not there
  return a.negative ? -order : order;
}

Re json_number(Regular& regular, const NumberRule& rule) {
  Digits digits(regular);
  const Re minus = regular.literal("-");
  const bool bounded = rule.low || rule.high;
  uint32_t most = rule.fraction.value_or(Regular::kForever);
  if (bounded && !rule.any_length) {
    size_t whole = 1;
    for (const auto& bound : {rule.low, rule.high})
      if (bound) whole = std::max(whole, bound->value.whole.size());
    most = std::min(most, kDoubleDigits - std::min(kDoubleDigits - 1, uint32_t(whole)));
  }
  if (rule.integer || rule.modulus > 1) most = 0;
  Re size = digits.shape(most);
  if (rule.modulus > 1) size = regular.all_of({size, regular.multiple(rule.modulus)});
  if (!bounded) {
    if (most == Regular::kForever) size = regular.concat(size, digits.exponent());
    return regular.concat(regular.optional(minus), size);
  }
  // The two signs apart: -x is at least -3 where x is at most 3.
  std::vector<Re> positive = {size}, negative = {size};
  if (rule.low) {
    const auto& [value, open] = *rule.low;
    if (value.negative) {
      negative.push_back(digits.below(value, open));
    } else {
      positive.push_back(digits.above(value, open));
      negative = {Regular::kNothing};
    }
  }
  if (rule.high) {
    const auto& [value, open] = *rule.high;
    if (value.negative) {
      negative.push_back(digits.above(value, open));
      positive = {Regular::kNothing};
    } else {
      positive.push_back(digits.below(value, open));
      if (value.zero() && open) negative.push_back(digits.above(value, true));
    }
  }
  return regular.any_of(
      {regular.all_of(std::move(positive)), regular.concat(minus, regular.all_of(std::move(negative)))});
}

}  // namespace vibee
