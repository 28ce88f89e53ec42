// SPDX-License-Identifier: Apache-2.0
// How long a step takes, as a function of what is in it: measured on this machine when serving begins, corrected by
// every step that runs. seconds = rows(n) + logits(n) + per_row_key * (keys attended to, by all rows) + per_key * (keys
// read, by all sequences), times what recent steps took against it. Rows of a prompt share the keys that they read;
// rows of different sequences do not, which is why there are two factors.
#pragma once

#include <cstdint>
#include <vector>

#include "vibee/model/session/session.h"

namespace vibee {

struct StepLoad {
  uint32_t rows = 0;
  uint64_t row_keys = 0;  ///< sum over rows of the positions each attends to
  uint64_t keys = 0;      ///< sum over sequences of the positions that their rows attend to
  uint32_t logits = 0;    ///< rows whose logits are wanted

  /// `n` rows more, of one sequence, behind `before` tokens.
  void add(uint64_t n, uint64_t before, uint32_t wanted) {
    rows += uint32_t(n);
    row_keys += n * before + n * (n + 1) / 2;
    keys += before + n;
    logits += wanted;
  }
};

struct StepCurves {
  struct Point {
    uint32_t n;
    double seconds;
    bool operator==(const Point&) const = default;
  };
  std::vector<Point> rows;         ///< by ascending n; the logits of one row included
  std::vector<Point> logits = {};  ///< what n rows of logits take beyond one
  double per_row_key = 0, per_key = 0;
  bool operator==(const StepCurves&) const = default;
};

/// What recent steps took against the curves: on average, and the 95 % quantile against that.
struct StepCorrection {
  double ratio = 1, late = 1;
};

class StepTime {
 public:
  /// Curves are made monotone; between points they are linear, beyond the last they go on by its slope.
  explicit StepTime(StepCurves curves);

  double seconds(const StepLoad& load) const { return raw(load) * correction_.ratio; }
  /// What 95 of 100 steps of this load do not exceed, as far as the steps that ran can say.
  double bound(const StepLoad& load) const { return seconds(load) * correction_.late; }
  /// A step of this load took so long: the correction follows slowly, so that one disturbed step means little.
  void observe(const StepLoad& load, double seconds);
  const StepCorrection& correction() const { return correction_; }
  void set_correction(const StepCorrection& correction) { correction_ = correction; }
  const StepCurves& curves() const { return curves_; }

  double promise_s = 0;  ///< between two tokens of a sequence

 private:
  double raw(const StepLoad& load) const;
  StepCurves curves_;
  StepCorrection correction_;
};

/// Runs steps of 1, 2, 3, 4, 6, 8, ... rows, with few and many logits, and of rows behind many keys, `rounds` times, on
/// a session without sequences; medians. Three rounds of a small model take a second or two.
Result<StepTime> measure_step_time(Session& session, uint32_t rounds = 3);

}  // namespace vibee
