// SPDX-License-Identifier: Apache-2.0
// What serving costs in time, beside and with the steps of the model. All of it is measured (app/server/measure_cost.h)
// or read from a file; seconds.
#pragma once

#include <vector>

#include "vibee/serve/batch/step_time.h"

namespace vibee {

/// a + b n.
struct LinearCost {
  double base = 0, each = 0;
  double of(double n) const { return base + each * n; }
  bool operator==(const LinearCost&) const = default;
};

struct ServeCost {
  StepCurves step;
  StepCurves start;  ///< what a server finds when it starts, from which the policy sarathi goes on; empty: `step`
  /// Measured over predicted times of steps, at evenly spaced shares: a step takes one of them, drawn. Empty: always 1.
  std::vector<double> spread;
  /// Seconds that a step is longer because something else had the cores, at evenly spaced shares; drawn too. Empty:
  /// none.
  std::vector<double> stall;
  LinearCost loop;  ///< of the engine's thread behind a step, by tokens drawn: choosing them, texts, the next decision
  LinearCost ask;   ///< from a request's sending until the engine can see it, by tokens of its prompt
  LinearCost answer;  ///< from a step's end until a client has its token, by how many of that step go before it
  /// By how much a step that runs meanwhile is longer, because HTTP and a client on the same machine take its cores.
  LinearCost ask_delays;    ///< by tokens of the prompt
  double event_delays = 0;  ///< a token that is sent
  bool operator==(const ServeCost&) const = default;
};

}  // namespace vibee
