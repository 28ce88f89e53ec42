// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/arrivals.h"

#include <charconv>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// Gamma with mean `shape`, by Marsaglia and Tsang, "A simple method for generating gamma variables" (ACM TOMS 2000).
double gamma_variate(double shape, RandomStream& random) {
  if (shape < 1) {
    const double u = double(random.uniform());
    return gamma_variate(shape + 1, random) * std::pow(u, 1 / shape);
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = double(random.normal()), v = std::pow(1 + c * x, 3);
    const double u = double(random.uniform());
    if (v > 0 && std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

}  // namespace

Status parse_rate(std::string_view text, Arrivals* arrivals) {
  double low = 0, high = 0;
  const char* end = text.data() + text.size();
  auto [at, failed] = std::from_chars(text.data(), end, low);  // "inf" too
  high = low;
  if (failed == std::errc() && at < end && *at == '-' && std::isfinite(low)) {
    const auto second = std::from_chars(at + 1, end, high);
    at = second.ptr;
    failed = std::isfinite(high) ? second.ec : std::errc::invalid_argument;
  }
  if (failed != std::errc() || at != end || !(low >= 1e-6) || !(high >= 1e-6) || (std::isfinite(low) && low > 1e6) ||
      (std::isfinite(high) && high > 1e6))
    return error(Code::invalid, "{} is no rate; write requests a second, e.g. 4, a ramp 2-8, or inf", quote(text));
  arrivals->kind = Arrivals::Kind::rate;
  arrivals->rate = low;
  arrivals->rate_end = high;
  return {};
}

std::vector<double> arrival_times(const Arrivals& a, size_t n, uint64_t seed) {
  std::vector<double> times(n, 0.0);
  if (!std::isfinite(a.rate)) return times;
  RandomStream random(seed, Purpose::workload);
  double now = 0;
  for (size_t i = 0; i < n; ++i) {
    const double rate = n > 1 ? a.rate + (a.rate_end - a.rate) * double(i) / double(n - 1) : a.rate;
    now += gamma_variate(a.burstiness, random) / (a.burstiness * rate);
    times[i] = now;
  }
  if (a.rate == a.rate_end && now > 1e-100)
    for (double& t : times) t *= double(n) / a.rate / now;
  return times;
}

}  // namespace vibee
