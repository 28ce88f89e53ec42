// SPDX-License-Identifier: Apache-2.0
// The job behind `vibee bench serve` and `vibee plan serve`: a workload is made, the server warmed and measured.
#pragma once

#include "vibee/app/traffic/presets.h"
#include "vibee/app/traffic/rate_search.h"
#include "vibee/app/traffic/report.h"

namespace vibee {

struct Traffic {
  std::vector<TrafficPart> parts;
  std::vector<Conversation> warmup;  ///< what the first part shares is in them too
};
/// The texts of a workload; made once, and sent by run_bench as often as is wanted.
Result<Traffic> make_traffic(const TrafficConfig& config, const Tokenizer* tokenizer);

/// Whom workloads are sent to, one run after the other.
class BenchServer {
 public:
  virtual ~BenchServer() = default;
  /// Of the server's model, where it is at hand.
  virtual const Tokenizer* tokenizer() const = 0;
  /// The head of a report: whom it is about.
  virtual void describe(TrafficReport* report) const = 0;
  /// For one run with its warm-up.
  virtual Result<std::unique_ptr<TrafficServer>> open() = 0;
};
/// Over HTTP; `target` must be prepared, and outlives it.
std::unique_ptr<BenchServer> http_bench_server(const Target& target);

using Progress = std::function<bool(const TrafficProgress&)>;
/// `name` is the workload's in the report.
Result<TrafficReport> run_bench(BenchServer& server, const TrafficConfig& config, const Traffic& traffic,
                                const std::string& name, const Progress& progress);

/// The largest rate (find_rate) that the limits of `config` allow, with new texts at every run, and the report of the
/// last run at that rate (of the last run, when none passes). Starts from the rate of the first part, or 1/s.
struct RateReport {
  FoundRate found;
  TrafficReport report;
};
Result<RateReport> search_rate(BenchServer& server, const TrafficConfig& config, const std::string& name,
                               const Progress& progress);

/// From one client in a closed loop to all requests at once, and `steps` rates spread evenly between what these two
/// gave.
Result<std::vector<TrafficReport>> sweep_rates(BenchServer& server, const TrafficConfig& config, uint32_t steps,
                                               const std::string& name, const Progress& progress);
/// One line a report.
std::string sweep_text(const std::vector<TrafficReport>& reports);
std::string found_text(const FoundRate& found, const LatencyLimits& limits);
std::string found_json(const FoundRate& found);

}  // namespace vibee
