// SPDX-License-Identifier: Apache-2.0
// Figures of a run, by the definitions of vLLM's bench client (vllm/benchmarks/serve.py), so that numbers compare:
//   TTFT  from sending a request to the first event whose `choices` is not empty
//   ITL   every gap between two such events of a request, pooled over requests
//   E2EL  from sending to the last such event
//   TPOT  (E2EL - TTFT) / (output tokens - 1), of requests with more than one token
//   goodput  completed requests a second that meet all given limits (a TPOT of one token counts as 0)
// and more under other names. Times are seconds. Pure functions of the records.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/app/traffic/record.h"
#include "vibee/base/status/status.h"

namespace vibee {

/// The p-th percentile (0 to 100) of ascending values, linear between neighbours as numpy's default; 0 of none.
double percentile(std::span<const double> ascending, double p);
/// The gap that one is in at a random instant: the smallest such that gaps up to it fill p percent of the time. A stall
/// of 7 s among a thousand gaps of 10 ms is 41 % of the time and less than a thousandth of the gaps.
double time_weighted_percentile(std::span<const double> ascending, double p);

struct Summary {
  size_t count = 0;
  double mean = 0, deviation = 0, least = 0, most = 0;
  double p50 = 0, p90 = 0, p95 = 0, p99 = 0;
};
Summary summarize(std::vector<double> values);

/// LatencyLimits that a request must meet to count; seconds.
struct LatencyLimits {
  std::optional<double> ttft, tpot, e2el;
  double share = 0.9;  ///< of the requests that should meet them
  bool any() const { return ttft || tpot || e2el; }
  bool met(const RequestRecord& record) const;
};
/// "ttft:1500,tpot:80@0.9": milliseconds, and the share (0.9 when it is left out).
Result<LatencyLimits> parse_limits(std::string_view text);

/// Bounds of a share at 95 %, by Wilson, "Probable inference" (JASA 1927).
struct Share {
  double value = 0, low = 0, high = 1;
};
Share wilson(uint64_t met, uint64_t of);

struct Measures {
  uint64_t requests = 0, completed = 0, failed = 0, cancelled = 0;
  double seconds = 0;  ///< from the first sending to the last completion
  uint64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  uint64_t uncounted = 0;  ///< completed requests whose tokens the server did not count
  uint32_t most_at_once = 0;
  double mean_at_once = 0;
  Summary ttft, tpot, itl, e2el;
  Summary first_text, longest_gap, itl_token, queue, lag;  ///< itl_token: gaps divided among the tokens of their event
  double itl_time_p50 = 0, itl_time_p95 = 0, itl_time_p99 = 0;
  uint64_t met = 0;  ///< requests within the limits
  Share attainment;  ///< of those that were not cancelled

  double per_second(double n) const { return seconds > 0 ? n / seconds : 0; }
  double request_rate() const { return per_second(double(completed)); }
  double output_rate() const { return per_second(double(output_tokens)); }
  double total_rate() const { return per_second(double(prompt_tokens + output_tokens)); }
  double goodput() const { return per_second(double(met)); }
};

/// `tokens_of_piece[i]`, where given, are the tokens of each piece of record i.
Measures measure(std::span<const RequestRecord> records, const LatencyLimits& limits,
                 std::span<const std::vector<uint32_t>> tokens_of_piece = {});

}  // namespace vibee
