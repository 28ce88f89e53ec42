// SPDX-License-Identifier: Apache-2.0
// When requests are sent. In a closed loop each of N clients sends its next request when it has its answer: what is
// offered adapts to the server. In an open one requests are sent when they are due, whatever the server does.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct Arrivals {
  enum class Kind { closed, rate, trace };
  Kind kind = Kind::closed;
  uint32_t clients = 8;  ///< closed
  /// rate: requests a second, from `rate` at the first to `rate_end` at the last; infinite: all at once
  double rate = std::numeric_limits<double>::infinity(), rate_end = rate;
  /// rate: shape of the gamma distribution of the gaps; 1: Poisson, below: bursts, above: more even
  double burstiness = 1;
  double stretch = 1;  ///< trace: factor on its times
};

/// "inf", "4" or a ramp "2-8" into rate and rate_end.
Status parse_rate(std::string_view text, Arrivals* arrivals);

/// Seconds after the start, ascending, of n requests of an open loop by rate. With one finite rate the times are
/// rescaled so that the last request is due at n/rate, as in vLLM's bench client: runs of few requests differ in their
/// pattern but not in their mean rate.
std::vector<double> arrival_times(const Arrivals& arrivals, size_t n, uint64_t seed);

}  // namespace vibee
