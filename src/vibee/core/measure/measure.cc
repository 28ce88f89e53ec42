// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/measure/measure.h"

#include <algorithm>

#include "vibee/base/status/status.h"

namespace vibee {

double median(std::vector<double> v) {
  VIBEE_CHECK(!v.empty());
  std::sort(v.begin(), v.end());
  const size_t n = v.size();
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

PairedRatio paired_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  VIBEE_CHECK(a.size() == b.size() && !a.empty(), "{} and {}", a.size(), b.size());
  std::vector<double> r;
  for (size_t i = 0; i < a.size(); ++i) r.push_back(a[i] / b[i]);
  std::sort(r.begin(), r.end());
  const size_t n = r.size();
  // Largest k with P(Binomial(n, 1/2) < k) <= 2.5 %: r[k-1] .. r[n-k] holds the median with 95 % or more.
  double tail = 0, term = 1;
  for (size_t i = 0; i < n; ++i) term /= 2;
  size_t k = 0;
  while (k < n / 2 && tail + term <= 0.025) {
    tail += term;
    term = term * double(n - k) / double(k + 1);
    ++k;
  }
  PairedRatio out;
  out.ratio = median(r);
  out.low = k > 0 ? r[k - 1] : 0;
  out.high = k > 0 ? r[n - k] : 1e300;
  return out;
}

}  // namespace vibee
