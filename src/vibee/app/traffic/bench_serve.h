// SPDX-License-Identifier: Apache-2.0
// The job behind `vibee bench serve`: a workload is made, the server found, warmed and measured.
#pragma once

#include "vibee/app/traffic/presets.h"
#include "vibee/app/traffic/report.h"

namespace vibee {

struct Traffic {
  std::vector<TrafficPart> parts;
  std::vector<Conversation> warmup;  ///< what the first part shares is in them too
};
/// The texts of a workload; made once, and sent by run_bench as often as is wanted.
Result<Traffic> make_traffic(const TrafficConfig& config, const Tokenizer* tokenizer);

/// `target` must be prepared. `name` is the workload's in the report.
Result<TrafficReport> run_bench(const Target& target, const TrafficConfig& config, const Traffic& traffic,
                                const std::string& name, const std::function<bool(const TrafficProgress&)>& progress);

}  // namespace vibee
