// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/bench_serve.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "vibee/app/traffic/http_traffic.h"
#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

std::string arrivals_text(const Arrivals& a) {
  if (a.kind == Arrivals::Kind::closed) return fmt::format("closed loop of {} clients", a.clients);
  if (a.kind == Arrivals::Kind::trace) return fmt::format("at the times of the trace x {:g}", a.stretch);
  if (!std::isfinite(a.rate)) return "all at once";
  std::string out = fmt::format("{:g}", a.rate);
  if (a.rate_end != a.rate) out += fmt::format(" to {:g}", a.rate_end);
  out += " requests/s, ";
  return out + (a.burstiness == 1 ? "Poisson" : fmt::format("gamma of shape {:.3g}", a.burstiness));
}

std::string part_text(const PartConfig& p, const TrafficPart& made) {
  const WorkloadConfig& w = p.workload;
  uint64_t turns = 0;
  for (const Conversation& c : made.conversations)
    turns += size_t(std::count_if(c.turns.begin(), c.turns.end(), [](const Turn& t) { return t.max_tokens > 0; }));
  std::string out =
      fmt::format("{}: {} ({} turns), {}", p.name, made.conversations.size(), turns, arrivals_text(p.arrivals));
  if (!w.file.empty()) return out + ", of " + w.file;
  if (w.prefix) out += fmt::format(", prefix of {} tokens in {} groups", w.prefix, w.groups);
  return out;
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

class HttpBenchServer final : public BenchServer {
 public:
  explicit HttpBenchServer(const Target& target) : target_(target) {}
  const Tokenizer* tokenizer() const override { return target_.tokenizer; }
  void describe(TrafficReport* report) const override {
    report->url = target_.url.origin() + target_.url.path;
    report->model = target_.model;
    report->endpoint = std::string(target_.chat ? "chat" : "completions") + (target_.send_ids ? ", token ids" : "");
  }
  Result<std::unique_ptr<TrafficServer>> open() override { return http_traffic(target_); }

 private:
  const Target& target_;
};

}  // namespace

std::unique_ptr<BenchServer> http_bench_server(const Target& target) {
  return std::make_unique<HttpBenchServer>(target);
}

Result<Traffic> make_traffic(const TrafficConfig& config, const Tokenizer* tokenizer) {
  VIBEE_ASSIGN(const Prompts prompts, Prompts::create(tokenizer));
  Traffic out;
  for (size_t i = 0; i < config.parts.size(); ++i) {
    const PartConfig& p = config.parts[i];
    WorkloadConfig workload = p.workload;
    const uint32_t warmup = i == 0 ? config.warmup : 0;
    workload.conversations += warmup;
    VIBEE_ASSIGN(auto all, make_workload(workload, prompts, part_seed(config.seed, 31, i)));
    if (all.size() <= warmup)
      return error(Code::invalid, "{} requests to warm the server leave none of {} to measure", warmup, all.size());
    const auto first = all.begin() + warmup;
    if (i == 0) out.warmup.assign(std::make_move_iterator(all.begin()), std::make_move_iterator(first));
    all.erase(all.begin(), first);
    const double begin = all.front().at_s;
    for (Conversation& c : all) c.at_s -= begin;
    out.parts.push_back({p.name, std::move(all), p.arrivals, p.background});
  }
  return out;
}

Result<TrafficReport> run_bench(BenchServer& bench, const TrafficConfig& config, const Traffic& traffic,
                                const std::string& name, const Progress& progress) {
  const std::vector<TrafficPart>& parts = traffic.parts;
  VIBEE_ASSIGN(const auto server, bench.open());
  if (!traffic.warmup.empty()) {
    TrafficPart part{"warm-up", traffic.warmup, {}, false};
    part.arrivals.clients = 1;
    VIBEE_ASSIGN(const TrafficRun run, run_traffic(*server, {&part, 1}, config.seed, bench.tokenizer(), progress));
    if (run.interrupted) return error(Code::cancelled, "interrupted while the server was warmed");
  }
  TrafficReport report;
  bench.describe(&report);
  report.workload = name;
  report.date = date_now();
  report.limits = config.limits;
  for (size_t i = 0; i < parts.size(); ++i) report.parts.push_back(part_text(config.parts[i], parts[i]));
  VIBEE_ASSIGN(report.run, run_traffic(*server, parts, config.seed, bench.tokenizer(), progress));
  const std::vector<RequestRecord>& records = report.run.records;
  std::vector<std::vector<uint32_t>> tokens;
  if (bench.tokenizer()) tokens = tokens_of_pieces(records, *bench.tokenizer());
  report.all = measure(records, config.limits, tokens);
  for (uint32_t p = 0; parts.size() > 1 && p < parts.size(); ++p) {
    std::vector<RequestRecord> mine;
    std::vector<std::vector<uint32_t>> my_tokens;
    for (size_t i = 0; i < records.size(); ++i) {
      if (records[i].part != p) continue;
      mine.push_back(records[i]);
      if (!tokens.empty()) my_tokens.push_back(tokens[i]);
    }
    report.by_part.push_back(measure(mine, config.limits, my_tokens));
  }
  return report;
}

namespace {

constexpr uint64_t kSweepRuns = 1000;  // where their numbers begin: other texts than those of a search

/// A run of its own among several: the first part arrives as told, and the texts are new to the server.
Result<TrafficReport> run_one(BenchServer& server, TrafficConfig config, const Arrivals& arrivals, uint64_t number,
                              const std::string& name, const Progress& progress) {
  config.seed = part_seed(config.seed, 41, number);
  config.parts[0].arrivals = arrivals;
  VIBEE_ASSIGN(const Traffic traffic, make_traffic(config, server.tokenizer()));
  VIBEE_ASSIGN(TrafficReport report, run_bench(server, config, traffic, name, progress));
  if (report.run.interrupted) return error(Code::cancelled, "interrupted in run {}", number + 1);
  return report;
}

Arrivals at_rate(Arrivals arrivals, double rate) {
  if (arrivals.kind != Arrivals::Kind::rate) arrivals.burstiness = 1;
  arrivals.kind = Arrivals::Kind::rate;
  arrivals.rate = arrivals.rate_end = rate;
  return arrivals;
}

}  // namespace

Result<RateReport> search_rate(BenchServer& server, const TrafficConfig& config, const std::string& name,
                               const Progress& progress) {
  constexpr uint32_t kMostRuns = 12;
  if (!config.limits.any()) return error(Code::invalid, "--find-rate needs limits: --goodput ttft:1500,tpot:80@0.9");
  const Arrivals& arrivals = config.parts[0].arrivals;
  const double start = arrivals.kind == Arrivals::Kind::rate && std::isfinite(arrivals.rate) ? arrivals.rate : 1;
  std::vector<std::pair<double, TrafficReport>> reports;
  RateReport out;
  VIBEE_ASSIGN(
      out.found, find_rate(start, config.limits.share, kMostRuns, [&](double rate, uint32_t n) -> Result<RateTrial> {
        VIBEE_ASSIGN(TrafficReport report, run_one(server, config, at_rate(arrivals, rate), n, name, progress));
        const Measures m = report.all;
        reports.emplace_back(rate, std::move(report));
        return RateTrial{rate, m.met, m.requests - m.cancelled};
      }));
  size_t shown = reports.size() - 1;
  for (size_t i = 0; i < reports.size(); ++i)
    if (reports[i].first == out.found.rate) shown = i;
  out.report = std::move(reports[shown].second);
  out.report.parts[0] += fmt::format(" at {:.4g}/s", reports[shown].first);
  return out;
}

Result<std::vector<TrafficReport>> sweep_rates(BenchServer& server, const TrafficConfig& config, uint32_t steps,
                                               const std::string& name, const Progress& progress) {
  std::vector<TrafficReport> out;
  const auto add = [&](const Arrivals& arrivals) -> Status {
    VIBEE_ASSIGN(TrafficReport report, run_one(server, config, arrivals, kSweepRuns + out.size(), name, progress));
    out.push_back(std::move(report));
    return {};
  };
  Arrivals alone;
  alone.clients = 1;
  const Arrivals& own = config.parts[0].arrivals;
  VIBEE_TRY(add(alone));
  VIBEE_TRY(add(at_rate(own, INFINITY)));
  const double low = out[0].all.request_rate(), high = out[1].all.request_rate();
  if (!(low > 0 && high > 0))
    return error(Code::io, "no request was completed; {}", frequent_errors(out[0].run.records, 1)[0]);
  for (uint32_t i = 1; i <= steps; ++i) VIBEE_TRY(add(at_rate(own, low + (high - low) * i / (steps + 1))));
  std::rotate(out.begin() + 1, out.begin() + 2, out.end());  // the saturated run last
  return out;
}

std::string sweep_text(const std::vector<TrafficReport>& reports) {
  std::string out = fmt::format("{:<44}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>12}\n", "", "req/s", "tokens/s",
                                "TTFT p50", "TTFT p95", "TPOT p50", "ITL p99", "goodput/s");
  for (const TrafficReport& r : reports) {
    const Measures& m = r.all;
    const std::string goodput = r.limits.any() ? fmt::format("{:.3f}", m.goodput()) : "-";
    const size_t comma = r.parts[0].find("), ");
    out += fmt::format("{:<44}{:>10.3f}{:>12.1f}{:>10.1f}{:>10.1f}{:>10.2f}{:>10.2f}{:>12}\n",
                       r.parts[0].substr(comma == std::string::npos ? 0 : comma + 3, 43), m.request_rate(),
                       m.output_rate(), 1e3 * m.ttft.p50, 1e3 * m.ttft.p95, 1e3 * m.tpot.p50, 1e3 * m.itl.p99, goodput);
  }
  return out;
}

std::string found_text(const FoundRate& found, const LatencyLimits& limits) {
  std::string out;
  for (const RateTrial& t : found.trials)
    out += fmt::format("{:>10.4g}/s: {} of {} within {}\n", t.rate, t.met, t.of, limits_text(limits));
  if (found.rate == 0) return out + "no rate that was tried passes\n";
  return out + fmt::format("largest rate: {:.4g}/s{}{}\n", found.rate,
                           found.confirmed ? ", confirmed with three seeds" : ", not confirmed with three seeds",
                           found.bounded ? "" : "; higher ones were not tried");
}

std::string found_json(const FoundRate& found) {
  std::vector<std::string> trials;
  for (const RateTrial& t : found.trials)
    trials.push_back(JsonObject().number("rate", t.rate).integer("met", t.met).integer("of", t.of).str());
  return JsonObject()
      .number("rate", found.rate)
      .boolean("confirmed", found.confirmed)
      .boolean("bounded", found.bounded)
      .raw("trials", json_array(trials))
      .str();
}

}  // namespace vibee
