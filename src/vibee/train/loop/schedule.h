// SPDX-License-Identifier: Apache-2.0
// The learning rate of a step as a pure function of the step, so that a run that goes on knows it without a state.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vibee {

enum class ScheduleKind : uint8_t {
  constant,
  linear,  ///< falls on a line
  cosine,  ///< half a cosine (Loshchilov and Hutter, arXiv:1608.03983)
  wsd,     ///< warm-up, stable, decay: falls on a line at the end alone (Hu et al., arXiv:2404.06395)
};
std::optional<ScheduleKind> find_schedule(std::string_view name);

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  uint64_t steps = 1;     ///< of the run
  uint64_t warmup = 0;    ///< the first steps, in which the rate rises on a line to `rate`
  uint64_t decay = 0;     ///< the last steps, in which wsd falls
  double rate = 1e-3;     ///< the largest
  double final_rate = 0;  ///< the rate towards which it falls
};
/// The rate of step t = 1 ... steps; steps behind the last have that of the last.
double rate_at(const Schedule& schedule, uint64_t t);

}  // namespace vibee
