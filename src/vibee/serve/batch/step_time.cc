// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/batch/step_time.h"

#include <algorithm>

#include "vibee/base/status/status.h"

namespace vibee {
namespace {

void make_monotone(std::vector<StepCurves::Point>* curve) {
  for (size_t i = 1; i < curve->size(); ++i)
    (*curve)[i].seconds = std::max((*curve)[i].seconds, (*curve)[i - 1].seconds);
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
  // A share of the distance, with single steps cut at a factor of 2: about 20 steps to follow a neighbour that takes
  // half of a core.
  const double now = std::clamp(seconds / raw(load), ratio_ / 2, ratio_ * 2);
  ratio_ += 0.1 * (now - ratio_);
}

}  // namespace vibee
