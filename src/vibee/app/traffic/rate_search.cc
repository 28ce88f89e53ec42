// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/rate_search.h"

#include <cmath>

namespace vibee {

Result<FoundRate> find_rate(double start, double share, uint32_t most,
                            const std::function<Result<RateTrial>(double rate, uint32_t n)>& trial) {
  constexpr double kClose = 1.1;  // bounds that are near enough to one another
  constexpr uint32_t kSeeds = 3;  // runs that confirm a rate
  FoundRate out;
  std::vector<double> passed;  // ascending: each was tried because the one before had passed
  double high = INFINITY, rate = start;
  const auto passes = [&](uint64_t met, uint64_t of) { return wilson(met, of).low >= share; };
  struct All {
    uint64_t met = 0, of = 0;
    uint32_t seeds = 0;
  };
  const auto all_at = [&](double at) {
    All all;
    for (const RateTrial& t : out.trials)
      if (t.rate == at) all = {all.met + t.met, all.of + t.of, all.seeds + 1};
    return all;
  };
  while (out.trials.size() < most) {
    const double low = passed.empty() ? 0 : passed.back();
    const bool close = low > 0 && high <= low * kClose;
    if (close || (low > 0 && out.trials.size() + kSeeds > most)) {
      const All all = all_at(low);
      if (all.seeds >= kSeeds && passes(all.met, all.of)) break;
      if (all.seeds >= kSeeds) {
        high = low;
        passed.pop_back();
        rate = passed.empty() ? high / 2 : std::sqrt(passed.back() * high);
        continue;
      }
      rate = low;
    }
    VIBEE_ASSIGN(RateTrial t, trial(rate, uint32_t(out.trials.size())));
    t.rate = rate;
    out.trials.push_back(t);
    if (rate == low) continue;  // one that confirms: all of its seeds are judged together
    if (passes(t.met, t.of)) {
      passed.push_back(rate);
      rate = std::isfinite(high) ? std::sqrt(rate * high) : 2 * rate;
    } else {
      high = rate;
      rate = low > 0 ? std::sqrt(low * high) : rate / 2;
    }
  }
  out.rate = passed.empty() ? 0 : passed.back();
  const All all = all_at(out.rate);
  if (!passes(all.met, all.of)) out.rate = 0;
  out.confirmed = out.rate > 0 && all.seeds >= kSeeds;
  out.bounded = out.rate > 0 && high <= out.rate * kClose;
  return out;
}

}  // namespace vibee
