// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/report.h"

#include <algorithm>
#include <map>

#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

struct Row {
  const char *label, *key;
  const Summary Measures::*summary;
};
constexpr Row kRows[] = {
    {"TTFT", "ttft_ms", &Measures::ttft},
    {"first text", "first_text_ms", &Measures::first_text},
    {"TPOT", "tpot_ms", &Measures::tpot},
    {"ITL", "itl_ms", &Measures::itl},
    {"ITL a token", "itl_token_ms", &Measures::itl_token},
    {"longest gap", "longest_gap_ms", &Measures::longest_gap},
    {"E2EL", "e2el_ms", &Measures::e2el},
    {"queue", "queue_ms", &Measures::queue},
};

std::string table(const Measures& m) {
  std::string out =
      fmt::format("{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}  ms\n", "", "mean", "p50", "p90", "p95", "p99", "most");
  for (const Row& row : kRows) {
    const Summary& s = m.*row.summary;
    if (s.count == 0) continue;
    out += fmt::format("{:<14}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}\n", row.label, 1e3 * s.mean,
                       1e3 * s.p50, 1e3 * s.p90, 1e3 * s.p95, 1e3 * s.p99, 1e3 * s.most);
  }
  if (m.itl.count > 0)
    out += fmt::format("{:<14}{:>10}{:>10.2f}{:>10}{:>10.2f}{:>10.2f}\n", "ITL by time", "", 1e3 * m.itl_time_p50, "",
                       1e3 * m.itl_time_p95, 1e3 * m.itl_time_p99);
  return out;
}

std::string counts(const Measures& m) {
  std::string out = fmt::format("{} requests: {} completed, {} failed", m.requests, m.completed, m.failed);
  if (m.cancelled) out += fmt::format(", {} cancelled at the end", m.cancelled);
  out += fmt::format("; {:.2f} s, {} at once at most, {:.1f} on average\n", m.seconds, m.most_at_once, m.mean_at_once);
  out += fmt::format("{} prompt tokens ({} of them cached), {} output tokens{}\n", m.prompt_tokens, m.cached_tokens,
                     m.output_tokens,
                     m.uncounted ? fmt::format(" (not counted by the server in {} answers)", m.uncounted) : "");
  return out + fmt::format("{:.2f} output tokens/s, {:.2f} in all; {:.3f} requests/s\n", m.output_rate(),
                           m.total_rate(), m.request_rate());
}

std::string summary_json(const Summary& s) {
  return JsonObject()
      .integer("count", s.count)
      .number("mean", 1e3 * s.mean)
      .number("std", 1e3 * s.deviation)
      .number("min", 1e3 * s.least)
      .number("p50", 1e3 * s.p50)
      .number("p90", 1e3 * s.p90)
      .number("p95", 1e3 * s.p95)
      .number("p99", 1e3 * s.p99)
      .number("max", 1e3 * s.most)
      .str();
}

std::string measures_json(const Measures& m, const LatencyLimits& limits) {
  JsonObject out;
  out.integer("requests", m.requests).integer("completed", m.completed).integer("failed", m.failed);
  out.integer("cancelled", m.cancelled).number("seconds", m.seconds);
  out.integer("prompt_tokens", m.prompt_tokens).integer("cached_tokens", m.cached_tokens);
  out.integer("output_tokens", m.output_tokens).integer("uncounted_requests", m.uncounted);
  out.number("request_throughput", m.request_rate()).number("output_throughput", m.output_rate());
  out.number("total_token_throughput", m.total_rate());
  out.integer("max_concurrent_requests", m.most_at_once).number("mean_concurrent_requests", m.mean_at_once);
  for (const Row& row : kRows)
    if ((m.*row.summary).count > 0) out.raw(row.key, summary_json(m.*row.summary));
  if (m.itl.count > 0)
    out.raw("itl_by_time_ms", JsonObject()
                                  .number("p50", 1e3 * m.itl_time_p50)
                                  .number("p95", 1e3 * m.itl_time_p95)
                                  .number("p99", 1e3 * m.itl_time_p99)
                                  .str());
  out.raw("send_lag_ms", summary_json(m.lag));
  if (limits.any())
    out.raw("goodput", JsonObject()
                           .number("request_goodput", m.goodput())
                           .integer("met", m.met)
                           .number("attainment", m.attainment.value)
                           .number("low", m.attainment.low)
                           .number("high", m.attainment.high)
                           .number("wanted", limits.share)
                           .str());
  return out.str();
}

}  // namespace

std::vector<std::string> frequent_errors(const std::vector<RequestRecord>& records, size_t most) {
  std::map<std::string, size_t> count;
  for (const RequestRecord& r : records)
    if (r.failed()) ++count[r.error];
  std::vector<std::pair<size_t, std::string>> sorted;
  for (const auto& [text, n] : count) sorted.emplace_back(n, text);
  std::sort(sorted.rbegin(), sorted.rend());
  std::vector<std::string> out;
  for (size_t i = 0; i < std::min(most, sorted.size()); ++i)
    out.push_back(fmt::format("{} times {}", sorted[i].first, sorted[i].second));
  return out;
}

std::string limits_text(const LatencyLimits& limits) {
  std::string out;
  const auto add = [&](const char* name, const std::optional<double>& s) {
    if (s) out += fmt::format("{}{} {:g} ms", out.empty() ? "" : ", ", name, 1e3 * *s);
  };
  add("ttft", limits.ttft);
  add("tpot", limits.tpot);
  add("e2el", limits.e2el);
  return out;
}

std::string report_text(const TrafficReport& r) {
  std::string out = fmt::format("{} at {}, model {}, {}\n", r.workload, r.url, r.model, r.endpoint);
  if (!r.modelled.empty()) out += "modelled, not measured: " + r.modelled + "\n";
  for (const std::string& part : r.parts) out += "  " + part + "\n";
  if (r.run.interrupted) out += "interrupted: the figures are of what was sent until then\n";
  out += counts(r.all) + table(r.all);
  for (size_t i = 0; i < r.by_part.size(); ++i)
    out += fmt::format("\n{}\n", r.parts[i]) + counts(r.by_part[i]) + table(r.by_part[i]);
  if (r.limits.any())
    out += fmt::format("goodput {:.3f} requests/s: {:.1f} % ({:.1f} to {:.1f} at 95 %) within {}; {:g} % wanted\n",
                       r.all.goodput(), 100 * r.all.attainment.value, 100 * r.all.attainment.low,
                       100 * r.all.attainment.high, limits_text(r.limits), 100 * r.limits.share);
  if (r.modelled.empty())
    out +=
        fmt::format("client: {:.2f} cores busy, sent late by {:.2f} ms (p99)\n", r.run.client_cpu, 1e3 * r.all.lag.p99);
  if (r.all.lag.p99 > kMostLag)
    out += "the client was the bottleneck: requests were sent late; the figures are not the server's\n";
  for (const std::string& e : frequent_errors(r.run.records)) out += "failed " + e + "\n";
  return out;
}

std::string report_json(const TrafficReport& r) {
  std::vector<std::string> parts, errors, requests;
  for (size_t i = 0; i < r.parts.size(); ++i) {
    JsonObject part;
    part.text("what", r.parts[i]);
    if (i < r.by_part.size()) part.raw("measures", measures_json(r.by_part[i], {}));
    parts.push_back(part.str());
  }
  for (const std::string& e : frequent_errors(r.run.records, 20)) errors.push_back(json_quote(e));
  JsonObject out;
  out.text("date", r.date).text("url", r.url).text("model", r.model).text("endpoint", r.endpoint);
  out.text("workload", r.workload).raw("parts", json_array(parts)).boolean("interrupted", r.run.interrupted);
  out.raw("measures", measures_json(r.all, r.limits));
  if (r.modelled.empty())
    out.number("client_cores", r.run.client_cpu).boolean("client_was_bottleneck", r.all.lag.p99 > kMostLag);
  else
    out.text("modelled", r.modelled);
  return out.raw("errors", json_array(errors)).str();
}

}  // namespace vibee
