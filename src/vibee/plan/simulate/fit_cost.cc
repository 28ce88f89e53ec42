// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/simulate/fit_cost.h"

#include <algorithm>
#include <cmath>

namespace vibee {
namespace {

/// Solves the normal equations of the columns that are not `off` (Gauss with pivots); those that are no use stay 0.
std::vector<double> solve(std::span<const std::vector<double>> rows, const std::vector<bool>& off) {
  const size_t n = off.size();
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1, 0.0));
  for (const std::vector<double>& row : rows)
    for (size_t i = 0; i < n; ++i)
      for (size_t k = 0; k <= n; ++k) a[i][k] += row[i] * row[k];
  for (size_t i = 0; i < n; ++i) {
    if (!off[i]) continue;
    for (size_t k = 0; k <= n; ++k) a[i][k] = 0;
    for (size_t k = 0; k < n; ++k) a[k][i] = 0;
  }
  std::vector<double> scale(n, 0.0), out(n, 0.0);
  for (size_t i = 0; i < n; ++i) scale[i] = a[i][i];
  std::vector<size_t> pivot_of(n, n);
  std::vector<bool> used(n, false);
  for (size_t column = 0; column < n; ++column) {
    size_t best = n;
    for (size_t r = 0; r < n; ++r)
      if (!used[r] && (best == n || std::abs(a[r][column]) > std::abs(a[best][column]))) best = r;
    // A column that the others explain has nothing left.
    if (best == n || std::abs(a[best][column]) <= 1e-9 * scale[column] || scale[column] == 0) continue;
    used[best] = true;
    pivot_of[column] = best;
    for (size_t r = 0; r < n; ++r) {
      if (r == best) continue;
      const double factor = a[r][column] / a[best][column];
      for (size_t k = column; k <= n; ++k) a[r][k] -= factor * a[best][k];
    }
  }
  for (size_t column = 0; column < n; ++column)
    if (pivot_of[column] < n) out[column] = a[pivot_of[column]][n] / a[pivot_of[column]][column];
  return out;
}

std::vector<double> solve_positive(std::vector<std::vector<double>> rows) {
  if (rows.empty()) return {};
  std::vector<double> scale(rows[0].size() - 1, 0.0);  // columns of seconds and of millions of keys alike
  for (size_t i = 0; i < scale.size(); ++i) {
    for (const std::vector<double>& row : rows) scale[i] += row[i] * row[i];
    scale[i] = scale[i] > 0 ? std::sqrt(scale[i]) : 1;
    for (std::vector<double>& row : rows) row[i] /= scale[i];
  }
  std::vector<bool> off(scale.size(), false);
  for (;;) {
    std::vector<double> x = solve(rows, off);
    const auto least = std::min_element(x.begin(), x.end());
    if (*least < 0) {
      off[size_t(least - x.begin())] = true;
      continue;
    }
    for (size_t i = 0; i < x.size(); ++i) x[i] /= scale[i];
    return x;
  }
}

double residual(const std::vector<double>& row, const std::vector<double>& x) {
  double sum = -row.back();
  for (size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
  return sum;
}

double quantile_of(const std::vector<double>& sorted, double q) {
  const double at = q * double(sorted.size() - 1);
  const size_t i = size_t(at), next = std::min(i + 1, sorted.size() - 1);
  return sorted[i] + (sorted[next] - sorted[i]) * (at - double(i));
}

}  // namespace

std::vector<double> fit_least_squares(std::span<const std::vector<double>> rows) {
  std::vector<double> x = solve_positive({rows.begin(), rows.end()});
  std::vector<double> off;
  for (const std::vector<double>& row : rows) off.push_back(std::abs(residual(row, x)));
  if (off.empty()) return x;
  std::vector<double> sorted = off;
  std::sort(sorted.begin(), sorted.end());
  const double most = 5 * sorted[sorted.size() / 2] + 1e-12;
  std::vector<std::vector<double>> kept;
  for (size_t i = 0; i < rows.size(); ++i)
    if (off[i] <= most) kept.push_back(rows[i]);
  return solve_positive(std::move(kept));
}

Result<ServeCost> fit_serve_cost(const StepCurves& curves, std::span<const ReplayedStep> steps) {
  const StepTime time(curves), rows({time.curves().rows, {}, 0, 0}), logits({{{1, 0}}, time.curves().logits, 0, 0});
  std::vector<std::vector<double>> taken, between;
  for (size_t i = 1; i < steps.size(); ++i) {
    const ReplayedStep &s = steps[i], &before = steps[i - 1];
    if (!s.follows || s.load.rows == 0 || before.load.rows == 0) continue;
    // What HTTP and clients did while this step ran began with the tokens of the one before; requests that came while
    // it ran are seen behind it.
    const bool has_next = i + 1 < steps.size() && steps[i + 1].follows;
    taken.push_back({rows.seconds(s.load), logits.seconds(s.load), double(s.load.row_keys), double(s.load.keys),
                     double(before.drawn), has_next ? double(steps[i + 1].asked) : 0,
                     has_next ? double(steps[i + 1].asked_tokens) : 0, s.seconds});
    between.push_back({1, double(before.drawn), s.at_s - before.end_s});
  }
  constexpr size_t kLeast = 20;
  if (taken.size() < kLeast)
    return error(Code::invalid, "{} steps of a server that went on are too few to learn from, at least {}",
                 taken.size(), kLeast);
  // A tenth of a short step counts as much as a tenth of a long one.
  std::vector<std::vector<double>> relative = taken;
  for (std::vector<double>& t : relative) {
    const double of = t[0] + t[1];
    for (double& value : t) value /= of;
  }
  const std::vector<double> x = fit_least_squares(relative);
  ServeCost out;
  out.start = time.curves();
  out.step = time.curves();
  for (StepCurves::Point& p : out.step.rows) p.seconds *= x[0];
  for (StepCurves::Point& p : out.step.logits) p.seconds *= x[1];
  out.step.per_row_key = x[2];
  out.step.per_key = x[3];
  out.event_delays = x[4];
  out.ask_delays = {x[5], x[6]};
  // A step that takes half as long again was stopped by something else, for as long as it was, whatever its own length.
  constexpr double kStopped = 1.5;
  std::vector<double> ratios, stalls;
  for (const std::vector<double>& t : taken) {
    const double model = x[0] * t[0] + x[1] * t[1] + x[2] * t[2] + x[3] * t[3];
    const double beside = x[4] * t[4] + x[5] * t[5] + x[6] * t[6];
    if (model <= 0) continue;
    const double ratio = std::max(0.1, (t.back() - beside) / model);
    if (ratio <= kStopped) ratios.push_back(ratio);
    stalls.push_back(ratio <= kStopped ? 0 : (ratio - 1) * model);
  }
  if (ratios.empty()) return error(Code::invalid, "the steps of the server took no time");
  std::sort(ratios.begin(), ratios.end());
  std::sort(stalls.begin(), stalls.end());
  constexpr int kQuantiles = 128;
  // Of the middles of equal shares: the one longest step of all stands for no more than itself.
  for (int i = 0; i < kQuantiles; ++i) {
    out.spread.push_back(quantile_of(ratios, (i + 0.5) / kQuantiles));
    out.stall.push_back(quantile_of(stalls, (i + 0.5) / kQuantiles));
  }
  const std::vector<double> loop = fit_least_squares(between);
  out.loop = {loop[0], loop[1]};
  return out;
}

}  // namespace vibee
