// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/bench_serve.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

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

}  // namespace

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

Result<TrafficReport> run_bench(const Target& target, const TrafficConfig& config, const Traffic& traffic,
                                const std::string& name, const std::function<bool(const TrafficProgress&)>& progress) {
  const std::vector<TrafficPart>& parts = traffic.parts;
  if (!traffic.warmup.empty()) {
    TrafficPart part{"warm-up", traffic.warmup, {}, false};
    part.arrivals.clients = 1;
    VIBEE_ASSIGN(const TrafficRun run, run_traffic(target, {&part, 1}, config.seed, progress));
    if (run.interrupted) return error(Code::cancelled, "interrupted while the server was warmed");
  }
  TrafficReport report;
  report.url = target.url.origin() + target.url.path;
  report.model = target.model;
  report.endpoint = std::string(target.chat ? "chat" : "completions") + (target.send_ids ? ", token ids" : "");
  report.workload = name;
  report.date = date_now();
  report.limits = config.limits;
  for (size_t i = 0; i < parts.size(); ++i) report.parts.push_back(part_text(config.parts[i], parts[i]));
  VIBEE_ASSIGN(report.run, run_traffic(target, parts, config.seed, progress));
  const std::vector<RequestRecord>& records = report.run.records;
  std::vector<std::vector<uint32_t>> tokens;
  if (target.tokenizer) tokens = tokens_of_pieces(records, *target.tokenizer);
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

}  // namespace vibee
