// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/random/lengths.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr double kLongest = 1 << 24;  // tokens

/// The number that begins `text`, which it is taken from.
bool take_number(std::string_view* text, double* value) {
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (failed != std::errc() || !std::isfinite(*value) || *value < 0 || *value > kLongest) return false;
  text->remove_prefix(size_t(end - text->data()));
  return true;
}

bool take(std::string_view* text, std::string_view word) {
  if (!text->starts_with(word)) return false;
  text->remove_prefix(word.size());
  return true;
}

bool take_quantiles(std::string_view text, std::vector<std::pair<double, double>>* points) {
  points->clear();
  do {
    std::pair<double, double> p;
    if (!take_number(&text, &p.first) || !take(&text, "=") || !take_number(&text, &p.second)) return false;
    if (points->empty() ? p.first != 0 : p.first <= points->back().first || p.second < points->back().second)
      return false;
    points->push_back(p);
  } while (take(&text, ","));
  return text.empty() && points->size() >= 2 && points->back().first == 1;
}

}  // namespace

Result<Lengths> parse_lengths(std::string_view text) {
  Lengths out;
  std::string_view rest = text;
  bool good;
  if (take(&rest, "lognormal:")) {
    out.lognormal = true;
    good = take_number(&rest, &out.mean) && take(&rest, ",") && take_number(&rest, &out.cv) && rest.empty() &&
           out.mean >= 1 && out.cv <= 100;
  } else if (take(&rest, "quantiles:")) {
    good = take_quantiles(rest, &out.quantiles);
  } else {
    double low = 0, high = 0;
    good = take_number(&rest, &low);
    high = low;
    if (good && take(&rest, "-")) good = take_number(&rest, &high);
    good = good && rest.empty() && low >= 1 && high >= low;
    // Both ends as likely as the others, behind rounding.
    out.quantiles = {{0, low == high ? low : low - 0.4999}, {1, low == high ? low : high + 0.4999}};
  }
  if (good) return out;
  return error(Code::invalid,
               "{} is no distribution of lengths; write 64, 32-128, lognormal:MEAN,CV or quantiles:0=10,0.5=100,1=4000",
               quote(text));
}

uint32_t Lengths::draw(RandomStream& random, double scale) const {
  double value;
  if (lognormal) {
    const double sigma2 = std::log(1 + cv * cv);
    value = std::exp(std::log(mean) - sigma2 / 2 + std::sqrt(sigma2) * double(random.normal()));
  } else {
    const double u = double(random.uniform());
    size_t i = 1;
    while (i + 1 < quantiles.size() && quantiles[i].first < u) ++i;
    const auto [x0, y0] = quantiles[i - 1];
    const auto [x1, y1] = quantiles[i];
    value = y0 + (y1 - y0) * (u - x0) / (x1 - x0);
  }
  return uint32_t(std::clamp(std::round(value * scale), 1.0, kLongest));
}

}  // namespace vibee
