// SPDX-License-Identifier: Apache-2.0
// Gradients go over ranks while the backward pass goes on: a bucket (gradient_bucket.h) is sent behind the node that
// finishes its last gradient. Exact, since only times change. What here stands is what a step's trace says of it.
#pragma once

#include <string>
#include <vector>

namespace vibee {

/// Seconds of one clock.
struct TimeSpan {
  double begin, end;
};

/// The share of `communicate` during which something of `compute` goes on, 0 to 1; 0 where there is none.
double hidden_share(std::vector<TimeSpan> compute, std::vector<TimeSpan> communicate);

/// A step of one rank as an SVG of two lanes, with the hidden share below.
std::string overlap_svg(const std::vector<TimeSpan>& compute, const std::vector<TimeSpan>& communicate);

}  // namespace vibee
