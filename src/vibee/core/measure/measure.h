// SPDX-License-Identifier: Apache-2.0
// Timing on shared, noisy machines: medians, ratios of interleaved pairs, and what they allow one to say.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace vibee {

/// Of the monotonic clock, which threads and processes of a machine share.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Timer {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  void restart() { begin_ = std::chrono::steady_clock::now(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

double median(std::vector<double> values);

/// Pairs (a[i], b[i]) measured next to one another. `ratio` is the median of a/b; low and high bound it at about 95 %
/// by the order statistics of a sign test (David and Nagaraja, Order Statistics, section 7.1): no assumption on the
/// noise but independence.
struct PairedRatio {
  double ratio = 1, low = 1, high = 1;
  /// True when the interval excludes 1 and the ratio is at least `least` away from it.
  bool differs(double least) const { return (low > 1 && ratio >= 1 + least) || (high < 1 && ratio <= 1 - least); }
};
PairedRatio paired_ratio(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace vibee
