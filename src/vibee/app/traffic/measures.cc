// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/measures.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

double sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// The largest number of requests that were open at once: half-open intervals [sent, end), so that one that ends as
/// another begins does not count with it.
uint32_t most_at_once(std::span<const RequestRecord> records) {
  std::vector<std::pair<double, int>> edges;
  for (const RequestRecord& r : records) {
    edges.emplace_back(r.sent_s, 1);
    edges.emplace_back(std::max(r.sent_s, r.end_s), -1);
  }
  std::sort(edges.begin(), edges.end());  // at one time the ends first
  int now = 0, most = 0;
  for (const auto& [at, change] : edges) most = std::max(most, now += change);
  return uint32_t(most);
}

}  // namespace

double percentile(std::span<const double> ascending, double p) {
  if (ascending.empty()) return 0;
  const double at = p / 100 * double(ascending.size() - 1);
  const size_t below = std::min(size_t(at), ascending.size() - 1), above = std::min(below + 1, ascending.size() - 1);
  return ascending[below] + (ascending[above] - ascending[below]) * (at - double(below));
}

double time_weighted_percentile(std::span<const double> ascending, double p) {
  const double wanted = p / 100 * sum(ascending);
  double so_far = 0;
  for (const double gap : ascending)
    if ((so_far += gap) >= wanted) return gap;
  return ascending.empty() ? 0 : ascending.back();
}

Summary summarize(std::vector<double> values) {
  Summary s;
  s.count = values.size();
  if (values.empty()) return s;
  std::sort(values.begin(), values.end());
  s.mean = sum(values) / double(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - s.mean) * (v - s.mean);
  s.deviation = std::sqrt(squares / double(values.size()));
  s.least = values.front();
  s.most = values.back();
  s.p50 = percentile(values, 50);
  s.p90 = percentile(values, 90);
  s.p95 = percentile(values, 95);
  s.p99 = percentile(values, 99);
  return s;
}

bool LatencyLimits::met(const RequestRecord& r) const {
  return r.completed() && (!ttft || r.ttft() <= *ttft) && (!tpot || r.tpot() <= *tpot) && (!e2el || r.e2el() <= *e2el);
}

Result<LatencyLimits> parse_limits(std::string_view text) {
  const auto wrong = [&] {
    return error(Code::invalid, "--goodput {}: write limits in milliseconds and a share, e.g. ttft:1500,tpot:80@0.9",
                 quote(text));
  };
  const auto number = [](std::string_view digits, double* value) {
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
    return failed == std::errc() && end == digits.data() + digits.size() && *value > 0 && std::isfinite(*value);
  };
  LatencyLimits out;
  std::string_view rest = text;
  if (const size_t at = rest.find('@'); at != rest.npos) {
    if (!number(rest.substr(at + 1), &out.share) || out.share > 1) return wrong();
    rest = rest.substr(0, at);
  }
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    const std::string_view entry = rest.substr(0, comma);
    more = comma != rest.npos;
    if (more) rest.remove_prefix(comma + 1);
    const size_t colon = entry.find(':');
    double ms = 0;
    if (colon == entry.npos || !number(entry.substr(colon + 1), &ms)) return wrong();
    const std::string_view name = entry.substr(0, colon);
    std::optional<double>* to = name == "ttft"   ? &out.ttft
                                : name == "tpot" ? &out.tpot
                                : name == "e2el" ? &out.e2el
                                                 : nullptr;
    if (!to || *to) return wrong();
    *to = ms / 1e3;
  }
  return out;
}

Share wilson(uint64_t met, uint64_t of) {
  if (of == 0) return {};
  const double z = 1.959963984540054, n = double(of), p = double(met) / n;
  const double middle = p + z * z / (2 * n), spread = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  return {p, std::max(0.0, (middle - spread) / scale), std::min(1.0, (middle + spread) / scale)};
}

Measures measure(std::span<const RequestRecord> records, const LatencyLimits& limits,
                 std::span<const std::vector<uint32_t>> tokens_of_piece) {
  Measures m;
  m.requests = records.size();
  double first = INFINITY, last = 0, open = 0;
  std::vector<double> ttft, tpot, itl, e2el, first_text, longest, itl_token, queue, lag;
  for (size_t i = 0; i < records.size(); ++i) {
    const RequestRecord& r = records[i];
    m.cancelled += r.cancelled;
    m.failed += r.failed();
    first = std::min(first, r.sent_s);
    lag.push_back(std::max(0.0, r.sent_s - r.due_s));
    open += std::max(0.0, r.end_s - r.sent_s);
    if (r.failed()) continue;
    double widest = 0;
    for (size_t k = 1; k < r.pieces.size(); ++k) {
      const double gap = r.pieces[k].at_s - r.pieces[k - 1].at_s;
      widest = std::max(widest, gap);
      itl.push_back(gap);
      const uint32_t n = i < tokens_of_piece.size() && k < tokens_of_piece[i].size() ? tokens_of_piece[i][k] : 1;
      itl_token.insert(itl_token.end(), n, gap / std::max(1u, n));
    }
    if (r.pieces.size() > 1) longest.push_back(widest);
    if (!r.completed()) continue;
    ++m.completed;
    m.met += limits.met(r);
    last = std::max(last, r.end_s);
    m.prompt_tokens += r.prompt_tokens;
    m.cached_tokens += r.cached_tokens;
    m.output_tokens += r.output_tokens;
    m.uncounted += !r.counted;
    ttft.push_back(r.ttft());
    e2el.push_back(r.e2el());
    if (r.output_tokens > 1) tpot.push_back(r.tpot());
    if (r.first_text_s >= 0) first_text.push_back(r.first_text_s - r.sent_s);
    if (r.queue_s >= 0) queue.push_back(r.queue_s);
  }
  if (m.completed > 0) m.seconds = last - first;
  m.most_at_once = most_at_once(records);
  m.mean_at_once = m.per_second(open);
  m.attainment = wilson(m.met, m.requests - m.cancelled);
  m.ttft = summarize(std::move(ttft));
  m.tpot = summarize(std::move(tpot));
  m.e2el = summarize(std::move(e2el));
  m.first_text = summarize(std::move(first_text));
  m.longest_gap = summarize(std::move(longest));
  m.itl_token = summarize(std::move(itl_token));
  m.queue = summarize(std::move(queue));
  m.lag = summarize(std::move(lag));
  std::sort(itl.begin(), itl.end());
  m.itl_time_p50 = time_weighted_percentile(itl, 50);
  m.itl_time_p95 = time_weighted_percentile(itl, 95);
  m.itl_time_p99 = time_weighted_percentile(itl, 99);
  m.itl = summarize(std::move(itl));
  return m;
}

}  // namespace vibee
