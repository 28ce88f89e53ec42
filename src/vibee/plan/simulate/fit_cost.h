// SPDX-License-Identifier: Apache-2.0
// From what a server did to what serving costs: least squares over the steps of its log.
#pragma once

#include <span>

#include "vibee/plan/simulate/replay.h"
#include "vibee/plan/simulate/serve_cost.h"

namespace vibee {

/// What the steps say of how long the rows of `curves`, their logits and keys take in a server, and of the work beside
/// them: fills `step`, `start`, `spread`, `stall`, `loop`, `ask_delays` and `event_delays`. An error when there are
/// fewer than 20 steps to learn from.
Result<ServeCost> fit_serve_cost(const StepCurves& curves, std::span<const ReplayedStep> steps);

/// Coefficients >= 0 of the columns of `rows` (their last value is what is to be explained) with the least sum of
/// squares; values far from the fit are left out of a second one.
std::vector<double> fit_least_squares(std::span<const std::vector<double>> rows);

}  // namespace vibee
