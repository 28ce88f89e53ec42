// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace vibee {

std::optional<ScheduleKind> find_schedule(std::string_view name) {
  if (name == "constant") return ScheduleKind::constant;
  if (name == "linear") return ScheduleKind::linear;
  if (name == "cosine") return ScheduleKind::cosine;
  if (name == "wsd") return ScheduleKind::wsd;
  return std::nullopt;
}

double rate_at(const Schedule& s, uint64_t t) {
  t = std::min(t, s.steps);
  if (t <= s.warmup) return s.rate * double(t) / double(s.warmup);
  // How much of the fall is done, from 0 to 1.
  const uint64_t begin =
      s.kind == ScheduleKind::wsd ? std::max(s.warmup, s.steps - std::min(s.steps, s.decay)) : s.warmup;
  const double done = t <= begin ? 0 : double(t - begin) / double(s.steps - begin);
  double left = 1 - done;
  if (s.kind == ScheduleKind::constant) left = 1;
  if (s.kind == ScheduleKind::cosine) left = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return s.final_rate + (s.rate - s.final_rate) * left;
}

}  // namespace vibee
