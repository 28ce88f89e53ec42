// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/workload_args.h"

#include <unistd.h>

#include <cstdio>

#include "vibee/app/cli/model_args.h"
#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

void show(const TrafficProgress& p) {
  std::string eta;
  if (p.done > 0) eta = fmt::format(", about {:.0f} s left", p.seconds / double(p.done) * double(p.of - p.done));
  std::fputs(fmt::format("\r\033[K{} of {} done, {} under way, {} failed, {} tokens{}", p.done, p.of, p.under_way,
                         p.failed, p.pieces, eta)
                 .c_str(),
             stderr);
}

WorkloadOutput output_of(const TrafficReport& r) {
  return {report_text(r), report_json(r), report_html(r), r.all.completed > 0 && !r.run.interrupted, {}};
}

}  // namespace

void WorkloadArgs::add_to(Args& args, const char* prefix_name) {
  std::vector<std::string> presets;
  for (const Preset& p : all_presets()) presets.emplace_back(p.id);
  args.add("--workload", workload, "a workload by name; options below change it").one_of(presets);
  args.add("--requests", requests, "conversations that are sent").between(1, 1e7);
  args.add("--prompt", prompt, "tokens of a prompt: 64, 32-128, lognormal:MEAN,CV or quantiles:0=10,0.5=100,1=4000");
  args.add("--output", output, "tokens of an answer, as --prompt");
  args.add(prefix_name, prefix, "tokens that the prompts of a group begin with").between(0, 1 << 20);
  args.add("--groups", groups, "groups with a prefix each").between(1, 1e6);
  args.add("--zipf", zipf, "group k is as likely as 1/k^ZIPF").between(0, 100);
  args.add("--turns", turns, "turns of a conversation; each sends what was said before").between(1, 10000);
  args.add("--think", think, "seconds between an answer and the next turn").between(0, 1e6);
  args.add("--file", file,
           "JSONL of prompts or messages, or a trace: CSV TIMESTAMP,ContextTokens,GeneratedTokens, or "
           "JSONL with timestamp, input_length, output_length, hash_ids");
  args.add("--length-scale", scale, "factor on the lengths").between(1e-6, 1e6);
  args.add("--clients", clients, "a closed loop: so many clients, each sends when it has its answer").between(1, 1e6);
  args.add("--rate", rate, "an open loop: requests a second, a ramp (2-8), or inf: all at once");
  args.add("--burstiness", burstiness, "with --rate: shape of the gamma distribution of gaps; 1: Poisson")
      .between(1e-3, 1e9);
  args.add("--time-scale", stretch, "with a trace: send at its times, multiplied by this").between(1e-9, 1e9);
  args.add("--warmup", warmup, "conversations sent before, one at a time, that do not count").between(0, 1e6);
  args.add("--goodput", goodput, "limits in ms and the share that should meet them: ttft:1500,tpot:80@0.9");
  args.add("--find-rate", find,
           "search the largest rate at which the share of --goodput meets its limits, in 12 runs at most");
  args.add("--sweep", sweep, "run from one client to all at once, with so many rates between").between(1, 100);
  args.add("--seed", seed, "same seed, same texts and times");
}

Result<TrafficConfig> WorkloadArgs::config() const {
  TrafficConfig c;
  if (!workload.empty()) {
    VIBEE_ASSIGN(const Preset* preset, find_preset(workload));
    c = preset->make();
  }
  PartConfig& part = c.parts.front();
  WorkloadConfig& w = part.workload;
  if (prompt) {
    VIBEE_ASSIGN(w.prompt, parse_lengths(*prompt));
  }
  if (output) {
    VIBEE_ASSIGN(w.output, parse_lengths(*output));
  }
  const auto set = [](const auto& from, auto* to) {
    if (from) *to = std::remove_pointer_t<decltype(to)>(*from);
  };
  set(requests, &w.conversations);
  set(prefix, &w.prefix);
  set(groups, &w.groups);
  set(zipf, &w.zipf);
  set(turns, &w.turns);
  set(think, &w.think_s);
  set(scale, &w.length_scale);
  set(warmup, &c.warmup);
  if (file) {
    w.file = *file;
    if (!requests) w.conversations = UINT32_MAX - c.warmup;  // all of it
  }
  if (clients && (rate || stretch))
    return error(Code::invalid, "--clients is a closed loop, --rate and --time-scale are open ones; give one of them");
  if (clients) {
    part.arrivals.kind = Arrivals::Kind::closed;
    part.arrivals.clients = uint32_t(*clients);
  }
  if (rate) VIBEE_TRY(parse_rate(*rate, &part.arrivals));
  set(burstiness, &part.arrivals.burstiness);
  if (stretch) {
    if (!file || rate) return error(Code::invalid, "--time-scale needs a trace by --file, and no --rate");
    part.arrivals.kind = Arrivals::Kind::trace;
    part.arrivals.stretch = *stretch;
  }
  if (goodput) {
    VIBEE_ASSIGN(c.limits, parse_limits(*goodput));
  }
  c.seed = seed;
  return c;
}

Result<WorkloadOutput> run_workload(const WorkloadArgs& a, BenchServer& server) {
  VIBEE_ASSIGN(const TrafficConfig config, a.config());
  const Progress progress = [terminal = isatty(STDERR_FILENO)](const TrafficProgress& p) {
    if (terminal) show(p);
    return !interrupted();
  };
  if (a.find) {
    VIBEE_ASSIGN(const RateReport r, search_rate(server, config, a.name(), progress));
    WorkloadOutput out = output_of(r.report);
    out.text += "\n" + found_text(r.found, config.limits);
    out.json = JsonObject().raw("search", found_json(r.found)).raw("report", out.json).str();
    return out;
  }
  if (a.sweep) {
    VIBEE_ASSIGN(const auto reports, sweep_rates(server, config, a.sweep, a.name(), progress));
    WorkloadOutput out = output_of(reports.back());
    out.text = sweep_text(reports);
    std::vector<std::string> items;
    for (const TrafficReport& r : reports) items.push_back(report_json(r));
    out.json = JsonObject().raw("sweep", json_array(items)).str();
    return out;
  }
  VIBEE_ASSIGN(const Traffic traffic, make_traffic(config, server.tokenizer()));
  VIBEE_ASSIGN(TrafficReport report, run_bench(server, config, traffic, a.name(), progress));
  WorkloadOutput out = output_of(report);
  out.report = std::move(report);
  return out;
}

Status WorkloadArgs::check() const {
  if (find && sweep) return error(Code::invalid, "--find-rate and --sweep are two series of runs; give one of them");
  return config().take_status();
}

void end_progress() {
  if (isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
}

}  // namespace vibee
