// SPDX-License-Identifier: Apache-2.0
// What a run of `vibee bench serve` found, as a table, as JSON, and as a page of its own without anything from
// elsewhere.
#pragma once

#include <string>
#include <vector>

#include "vibee/app/traffic/measures.h"
#include "vibee/app/traffic/traffic.h"

namespace vibee {

struct TrafficReport {
  std::string url, model, endpoint, workload;  ///< workload: the preset, or "own"
  std::string date;                            ///< UTC, ISO 8601
  std::string modelled;            ///< by what times, where the server was simulated; empty: it was measured
  std::vector<std::string> parts;  ///< what each is, in words
  LatencyLimits limits;
  TrafficRun run;
  Measures all;
  std::vector<Measures> by_part;  ///< when there are several
};

/// A p99 of late sending above this says that the client, not the server, was measured. Seconds.
inline constexpr double kMostLag = 0.005;

std::string report_text(const TrafficReport& report);
std::string report_json(const TrafficReport& report);
std::string report_html(const TrafficReport& report);

/// "4 times HTTP 503: ...", the most frequent first, at most `most`.
std::vector<std::string> frequent_errors(const std::vector<RequestRecord>& records, size_t most = 3);
/// "ttft 1500 ms, tpot 80 ms"
std::string limits_text(const LatencyLimits& limits);

}  // namespace vibee
