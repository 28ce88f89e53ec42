// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/step_time.h"

#include <algorithm>

#include "vibee/base/status/status.h"

namespace vibee {

StepTime::StepTime(std::vector<Point> curve, double seconds_per_key)
    : curve_(std::move(curve)), per_key_(seconds_per_key) {
  VIBEE_CHECK(!curve_.empty(), "a cost curve without points");
  for (size_t i = 1; i < curve_.size(); ++i) curve_[i].seconds = std::max(curve_[i].seconds, curve_[i - 1].seconds);
}

double StepTime::raw(const StepLoad& load) const {
  const double keys = per_key_ * double(load.row_keys);
  if (load.rows <= curve_[0].rows || curve_.size() == 1) return curve_[0].seconds + keys;
  size_t i = 1;
  while (i + 1 < curve_.size() && curve_[i].rows < load.rows) ++i;
  const Point &a = curve_[i - 1], &b = curve_[i];
  return a.seconds + (b.seconds - a.seconds) * double(load.rows - a.rows) / double(b.rows - a.rows) + keys;
}

void StepTime::observe(const StepLoad& load, double seconds) {
  // A share of the distance, with single steps cut at a factor of 2: about 20 steps to follow a neighbour that takes
  // half of a core.
  const double now = std::clamp(seconds / raw(load), ratio_ / 2, ratio_ * 2);
  ratio_ += 0.1 * (now - ratio_);
}

}  // namespace vibee
