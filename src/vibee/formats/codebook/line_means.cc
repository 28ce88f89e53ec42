// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/codebook/line_means.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace vibee {
namespace {

constexpr double kLeastWeight = 1e-6;

}  // namespace

LinePoints::LinePoints(const float* x, uint64_t n, const float* weights) : point_(n) {
  const auto value = [&](uint32_t i) { return std::isfinite(x[i]) ? double(x[i]) : 0.0; };
  double sum = 0, moment = 0;
  for (uint64_t i = 0; weights != nullptr && i < n; ++i) sum += weights[i];
  const bool alike = !(sum > 0 && std::isfinite(sum));
  const double least = alike ? 1 : kLeastWeight * sum / double(n);
  const auto weight = [&](uint32_t i) { return alike ? 1.0 : std::max<double>(weights[i], least); };
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return value(a) < value(b); });
  sum = 0;
  for (const uint32_t i : order) {
    sum += weight(i);
    moment += weight(i) * value(i);
  }
  centre_ = moment / sum;
  weight_ = first_ = second_ = {0};
  for (const uint32_t i : order) {
    const double w = weight(i), v = value(i) - centre_;
    if (values_.empty() || values_.back() != v) {
      values_.push_back(v);
      weight_.push_back(weight_.back());
      first_.push_back(first_.back());
      second_.push_back(second_.back());
    }
    point_[i] = size() - 1;
    weight_.back() += w;
    first_.back() += w * v;
    second_.back() += w * v * v;
  }
}

double LinePoints::mean(uint32_t begin, uint32_t end) const {
  if (end - begin == 1) return values_[begin] + centre_;
  return (first_[end] - first_[begin]) / (weight_[end] - weight_[begin]) + centre_;
}

double LinePoints::error(uint32_t begin, uint32_t end) const {
  if (end - begin == 1) return 0;
  const double first = first_[end] - first_[begin];
  return std::max(0.0, second_[end] - second_[begin] - first * first / (weight_[end] - weight_[begin]));
}

double LinePoints::error_to(uint32_t begin, uint32_t end, double value) const {
  const double off = mean(begin, end) - value;
  return error(begin, end) + (weight_[end] - weight_[begin]) * off * off;
}

std::vector<uint32_t> LinePoints::clusters(uint32_t k) const {
  const uint32_t n = size();
  std::vector<uint32_t> out(k + 1, n);
  if (n <= k) {
    std::iota(out.begin(), out.begin() + n, 0);
    return out;
  }
  // best[i]: the least error of the first i points in as many clusters as the layer says; the last cluster's begin is
  // monotone in i, so a layer is found by halves.
  std::vector<double> before(n + 1), best(n + 1);
  std::vector<std::vector<uint32_t>> begins(k, std::vector<uint32_t>(n + 1, 0));
  before[0] = 0;
  for (uint32_t i = 1; i <= n; ++i) before[i] = error(0, i);
  struct Part {
    uint32_t low, high, first, last;  // ends to find, and where their clusters may begin
  };
  std::vector<Part> parts;
  for (uint32_t j = 1; j < k; ++j) {
    std::fill(best.begin(), best.end(), std::numeric_limits<double>::infinity());
    parts.push_back({j + 1, n, j, n - 1});
    while (!parts.empty()) {
      const Part p = parts.back();
      parts.pop_back();
      if (p.low > p.high) continue;
      const uint32_t i = (p.low + p.high) / 2;
      uint32_t at = p.first;
      for (uint32_t s = p.first; s <= std::min(p.last, i - 1); ++s) {
        const double sum = before[s] + error(s, i);
        if (sum < best[i]) best[i] = sum, at = s;
      }
      begins[j][i] = at;
      if (i > p.low) parts.push_back({p.low, i - 1, p.first, at});
      parts.push_back({i + 1, p.high, at, p.last});
    }
    before.swap(best);
  }
  for (uint32_t j = k; j-- > 0;) out[j] = begins[j][out[j + 1]];
  return out;
}

uint32_t LinePoints::split(uint32_t begin, uint32_t end) const {
  uint32_t at = end;
  double least = std::numeric_limits<double>::infinity();
  for (uint32_t i = begin + 1; i < end; ++i) {
    const double sum = error(begin, i) + error(i, end);
    if (sum < least) least = sum, at = i;
  }
  return at;
}

}  // namespace vibee
