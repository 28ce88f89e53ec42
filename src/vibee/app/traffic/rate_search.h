// SPDX-License-Identifier: Apache-2.0
// The largest rate at which a share of the requests meets their limits: doubled or halved until it is bracketed, then
// bisected, then confirmed with other seeds. Knows nothing of servers: `trial` says what a run at a rate gave.
#pragma once

#include <functional>
#include <vector>

#include "vibee/app/traffic/measures.h"

namespace vibee {

struct RateTrial {
  double rate = 0;
  uint64_t met = 0, of = 0;  ///< requests within the limits, of all
};

struct FoundRate {
  double rate = 0;         ///< requests a second; 0: none that was tried passes
  bool confirmed = false;  ///< three seeds together pass
  bool bounded = false;    ///< a rate at most 10 % higher does not pass
  std::vector<RateTrial> trials;
};

/// A rate passes when the lower bound of its share (95 %) is at least `share`; `trial(rate, n)` is run number n, of at
/// most `most` in all.
Result<FoundRate> find_rate(double start, double share, uint32_t most,
                            const std::function<Result<RateTrial>(double rate, uint32_t n)>& trial);

}  // namespace vibee
