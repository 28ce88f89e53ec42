// SPDX-License-Identifier: Apache-2.0
// Python's binary operators: division rounds down, remainders take the divisor's sign, strings and lists add and
// repeat. Integers are 64-bit; a result that does not fit is an error, where Python would go on.
#include <algorithm>
#include <cmath>

#include "vibee/model/token/template_run.h"

namespace vibee {
namespace {

using Kind = TemplateValue::Kind;

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

double floor_remainder(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

}  // namespace

TemplateValue TemplateInterpreter::binary(std::string_view op, const TemplateValue& a, const TemplateValue& b) {
  if (a.is_undefined() || b.is_undefined()) {
    return fail("{}, so '{}' cannot be applied to it", a.is_undefined() ? a.name() : b.name(), op);
  }
  const auto mismatch = [&] {
    return fail("'{}' cannot be applied to a {} and a {}", op, a.type_name(), b.type_name());
  };
  if (op == "+" && a.is_string() && b.is_string()) {
    if (!charge(a.string().size() + b.string().size())) return {};
    if (a.is_markup() || b.is_markup()) return TemplateValue::markup(escaped(a) + escaped(b));
    return TemplateValue::of(a.string() + b.string());
  }
  if (op == "+" && a.is_sequence() && a.kind() == b.kind()) {
    if (!charge((a.items().size() + b.items().size()) * 64)) return {};
    TemplateList items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return made(a.is(Kind::list) ? TemplateValue::list(std::move(items)) : TemplateValue::tuple(std::move(items)));
  }
  if (op == "*" && (a.is_integer() != b.is_integer()) && !(a.is_number() && b.is_number())) {
    const TemplateValue& what = a.is_integer() ? b : a;
    const int64_t times = std::max<int64_t>(0, a.is_integer() ? a.integer() : b.integer());
    uint64_t bytes = 0;
    const uint64_t each = what.is_string() ? what.string().size() : what.is_sequence() ? what.items().size() * 64 : 0;
    if (!what.is_string() && !what.is_sequence()) return mismatch();
    if (__builtin_mul_overflow(each, uint64_t(times), &bytes)) bytes = ~uint64_t(0);
    if (!charge(bytes)) return {};
    std::string text_out;
    TemplateList items;
    for (int64_t i = 0; i < times && each > 0; ++i) {
      if (what.is_string()) {
        text_out += what.string();
      } else {
        items.insert(items.end(), what.items().begin(), what.items().end());
      }
    }
    if (what.is_string()) return like(what, TemplateValue::of(std::move(text_out)));
    return made(what.is(Kind::list) ? TemplateValue::list(std::move(items)) : TemplateValue::tuple(std::move(items)));
  }
  if (op == "%" && a.is_string()) {
    TemplateCall call;
    if (b.is(Kind::tuple)) {
      call.plain = b.items();
    } else {
      call.plain.push_back(b);
    }
    return filter("format", a, call);
  }
  if (!a.is_number() || !b.is_number()) return mismatch();
  const bool real = a.is(Kind::real) || b.is(Kind::real);
  const double x = a.real(), y = b.real();
  if ((op == "/" || op == "//" || op == "%") && y == 0) return fail("division by zero");
  if (op == "/") return TemplateValue::of(x / y);
  if (real) {
    if (op == "+") return TemplateValue::of(x + y);
    if (op == "-") return TemplateValue::of(x - y);
    if (op == "*") return TemplateValue::of(x * y);
    if (op == "//") return TemplateValue::of(std::floor(x / y));
    if (op == "%") return TemplateValue::of(floor_remainder(x, y));
    return TemplateValue::of(std::pow(x, y));
  }
  const int64_t m = a.integer(), n = b.integer();
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(m, n, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(m, n, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(m, n, &result);
  } else if (op == "//" || op == "%") {
    overflow = n == -1 && m == INT64_MIN;
    if (!overflow) result = op == "//" ? floor_divide(m, n) : m - n * floor_divide(m, n);
  } else {  // **
    if (n < 0) return m == 0 ? fail("division by zero") : TemplateValue::of(std::pow(double(m), double(n)));
    result = 1;
    for (int64_t i = 0; i < n && !overflow && result != 0; ++i) {
      if (m == 1 || (m == -1 && n % 2 == 0)) break;
      if (m == -1) {
        result = -1;
        break;
      }
      overflow = __builtin_mul_overflow(result, m, &result);
    }
  }
  if (overflow) return fail("the result of '{}' does not fit into 64 bits", op);
  return TemplateValue::of(result);
}

}  // namespace vibee
