// SPDX-License-Identifier: Apache-2.0
// How long a step takes, as a function of what is in it: measured on this machine when serving begins, corrected by
// every step that runs. seconds = curve(rows) + per_key * (keys read by all rows), times what recent steps took against
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "vibee/model/session/session.h"

namespace vibee {

struct StepLoad {
  uint32_t rows = 0;
  uint64_t row_keys = 0;  ///< sum over rows of the positions each attends to
};

class StepTime {
 public:
  struct Point {
    uint32_t rows;
    double seconds;
  };
  /// `curve` by ascending rows, made monotone; between points linear, beyond the last by its slope.
  StepTime(std::vector<Point> curve, double seconds_per_key);

  double seconds(const StepLoad& load) const { return raw(load) * ratio_; }
  /// A step of this load took so long: the correction follows slowly, so that one disturbed step means little.
  void observe(const StepLoad& load, double seconds);
  double ratio() const { return ratio_; }

  double promise_s = 0;  ///< between two tokens of a sequence

 private:
  double raw(const StepLoad& load) const;
  std::vector<Point> curve_;
  double per_key_, ratio_ = 1;
};

/// Runs steps of 1, 2, 4, ... rows and of some rows behind a thousand keys on a session without sequences; a second or
/// so.
Result<StepTime> measure_step_time(Session& session);

}  // namespace vibee
