// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/step_time.h"

#include <algorithm>

#include "vibee/base/status/status.h"

namespace vibee {
namespace {

/// The ascending curve with the least sum of squares to it (pool adjacent violators, Ayer et al. 1955): one point that
/// was disturbed does not lift those behind it.
void make_monotone(std::vector<StepCurves::Point>* curve) {
  struct Pool {
    double sum;
    size_t count;
    double mean() const { return sum / double(count); }
  };
  std::vector<Pool> pools;
  for (const StepCurves::Point& p : *curve) {
    pools.push_back({p.seconds, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  size_t at = 0;
  for (const Pool& pool : pools)
    for (size_t i = 0; i < pool.count; ++i) (*curve)[at++].seconds = pool.mean();
}

double at(const std::vector<StepCurves::Point>& curve, uint32_t n) {
  if (curve.empty()) return 0;
  if (n <= curve[0].n || curve.size() == 1) return curve[0].seconds;
  size_t i = 1;
  while (i + 1 < curve.size() && curve[i].n < n) ++i;
  const StepCurves::Point &a = curve[i - 1], &b = curve[i];
  return a.seconds + (b.seconds - a.seconds) * double(n - a.n) / double(b.n - a.n);
}

}  // namespace

StepTime::StepTime(StepCurves curves) : curves_(std::move(curves)) {
  VIBEE_CHECK(!curves_.rows.empty(), "a cost curve without points");
  make_monotone(&curves_.rows);
  make_monotone(&curves_.logits);
}

double StepTime::raw(const StepLoad& load) const {
  return at(curves_.rows, load.rows) + at(curves_.logits, load.logits) + curves_.per_row_key * double(load.row_keys) +
         curves_.per_key * double(load.keys);
}

void StepTime::observe(const StepLoad& load, double seconds) {
  // A quantile by stochastic approximation (Robbins and Monro 1951): one up for nineteen down is at rest at 95 %. How
  // far a step was late does not matter, so that one pause of the machine means little.
  double& late = correction_.late;
  late = std::clamp(late + (seconds > bound(load) ? 0.019 : -0.001), 1.0, 2.0);
  // A share of the distance, with single steps cut at a factor of 2: about 20 steps to follow a neighbour that takes
  // half of a core.
  double& ratio = correction_.ratio;
  const double now = std::clamp(seconds / raw(load), ratio / 2, ratio * 2);
  ratio += 0.1 * (now - ratio);
}

}  // namespace vibee
