// SPDX-License-Identifier: Apache-2.0
// A workload run through the engine as a client sees it: when each token came. Checks, benches and `vibee bench serve`
// compare policies and caches with it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "vibee/serve/batch/engine.h"

namespace vibee {

struct TrialRequest {
  std::vector<int32_t> prompt;
  uint32_t tokens = 1;  ///< exactly so many are generated, greedily
  double arrival_s = 0;
  uint64_t space = 0;
};

struct Trial {
  double seconds = 0;  ///< from the first arrival to the last token
  std::vector<std::vector<int32_t>> tokens;
  std::vector<double> first_token_s;  ///< of each request, after its arrival
  std::vector<double> queue_s;        ///< of each request, from its arrival to its first step
  std::vector<double> gaps_s;         ///< between two tokens of a request, all requests
  EngineStats stats;
  double rate() const;  ///< generated tokens a second
};

/// Ends early, with what was seen so far, once `enough` says so after a step.
Result<Trial> run_trial(Session& session, const EngineOptions& options, std::span<const TrialRequest> requests,
                        const std::function<bool(const Trial&)>& enough = {});

/// The q-th quantile (0 to 1) of values; 0 of none.
double quantile(std::vector<double> values, double q);

}  // namespace vibee
