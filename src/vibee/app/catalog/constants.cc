// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/catalog/constants.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

namespace vibee {
namespace {

constexpr uint32_t kMostN = 1000;
constexpr int kMostExponent = 12;  // 25^4 products: a tenth of a second

uint32_t complexity(const ConstantFormula& f) {
  return f.n + uint32_t(std::abs(f.k) + std::abs(f.m) + std::abs(f.p) + std::abs(f.q));
}

Status validate(double wanted, const ConstantBounds& bounds) {
  if (!std::isfinite(wanted) || wanted <= 0)
    return error(Code::invalid, "{} is not in the family: give a positive finite number", wanted);
  if (bounds.max_n < 1 || bounds.max_n > kMostN || bounds.max_exponent < 0 || bounds.max_exponent > kMostExponent)
    return error(Code::invalid, "n up to {} and exponents up to {}: at most {} and {} are searched", bounds.max_n,
                 bounds.max_exponent, kMostN, kMostExponent);
  return {};
}

/// Calls visit(formula) for the one or two best n of every product of powers.
template <class Visit>
void search(double wanted, const ConstantBounds& bounds, Visit visit) {
  const int most = bounds.max_exponent;
  const auto powers = [&](double base) {
    std::vector<double> out;
    for (int i = -most; i <= most; ++i) out.push_back(std::pow(base, i));
    return out;
  };
  const std::vector<double> three = powers(3), pi = powers(std::numbers::pi), phi = powers(kPhi),
                            e = powers(std::numbers::e);
  for (int k = -most; k <= most; ++k)
    for (int m = -most; m <= most; ++m)
      for (int p = -most; p <= most; ++p)
        for (int q = -most; q <= most; ++q) {
          const double product = three[k + most] * pi[m + most] * phi[p + most] * e[q + most];
          const double exact = std::clamp(std::floor(wanted / product), 1.0, double(bounds.max_n));
          for (double n : {exact, std::min(exact + 1, double(bounds.max_n))}) {
            const double value = n * product;
            visit(ConstantFormula{uint32_t(n), k, m, p, q, value, (value - wanted) / wanted});
          }
        }
}

}  // namespace

std::string ConstantFormula::text() const {
  std::string out;
  const auto factor = [&](const char* base, int exponent) {
    if (exponent == 0) return;
    if (!out.empty()) out += " * ";
    out += exponent == 1 ? std::string(base) : fmt::format("{}^{}", base, exponent);
  };
  if (n != 1) out = fmt::format("{}", n);
  factor("3", k);
  factor("pi", m);
  factor("phi", p);
  factor("e", q);
  return out.empty() ? "1" : out;
}

Result<ConstantFormula> nearest_constant(double wanted, const ConstantBounds& bounds) {
  VIBEE_TRY(validate(wanted, bounds));
  ConstantFormula best;
  best.relative_error = INFINITY;
  // Products of powers differ in their last bits by the order of multiplication; within that they count as equal.
  constexpr double kRounding = 4e-15;
  search(wanted, bounds, [&](const ConstantFormula& f) {
    const double gain = std::fabs(best.relative_error) - std::fabs(f.relative_error);
    if (gain > kRounding || (gain > -kRounding && complexity(f) < complexity(best))) best = f;
  });
  return best;
}

Result<ConstantFormula> simplest_constant(double wanted, double tolerance, const ConstantBounds& bounds) {
  VIBEE_TRY(validate(wanted, bounds));
  ConstantFormula best;
  bool found = false;
  search(wanted, bounds, [&](const ConstantFormula& f) {
    if (std::fabs(f.relative_error) > tolerance) return;
    const auto rank = [](const ConstantFormula& x) { return std::pair(complexity(x), std::fabs(x.relative_error)); };
    if (!found || rank(f) < rank(best)) best = f;
    found = true;
  });
  if (!found)
    return error(Code::not_found, "no member of the family within {} of {}; larger bounds search farther", tolerance,
                 wanted);
  return best;
}

}  // namespace vibee
