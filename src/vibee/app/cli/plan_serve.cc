// SPDX-License-Identifier: Apache-2.0
// vibee plan serve: a workload against a simulated server.
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/plan.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/workload_args.h"
#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/app/jobs/serve_times.h"
#include "vibee/app/server/measure_cost.h"
#include "vibee/app/traffic/plan_error.h"
#include "vibee/app/traffic/simulated_traffic.h"
#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/plan/simulate/replay.h"

namespace vibee {
namespace {

constexpr std::string_view kSummary =
    "Runs a workload against a simulated server: the scheduler, admission, pages and caches of `vibee serve` on a "
    "clock "
    "that adds up measured times. Nothing is computed, so that a day of traffic takes minutes.";

struct PlanArgs {
  LoadConfig load;
  WorkloadArgs workload;
  std::string endpoint = "chat", step_times, write_times, against, replay, record, json_out, html;
  uint32_t keys = 1;
  uint32_t queue = 512;
  bool measure = false, json = false;

  PlanArgs() { set_serve_defaults(&load); }

  void add_to(Args& args) {
    args.add("MODEL", load.model, "a GGUF file, or a name from `vibee list`; default: the model in the binary");
    add_load_args(args, load, true);
    args.add("--queue", queue, "prompts that may wait; beyond that they are refused").between(0, 1e6);
    workload.add_to(args, "--prefix-tokens");
    args.add("--endpoint", endpoint, "chat or completions").one_of({"chat", "completions"});
    args.add("--keys", keys, "API keys that conversations take in turn: what one computed the others do not find")
        .between(1, 1e6);
    args.add("--measure", measure, "measure this machine's times again; they are kept for later plans");
    args.add("--step-times", step_times, "a file of times, of another machine (--write-times there)");
    args.add("--write-times", write_times, "write the times to this file");
    args.add("--against", against,
             "the JSON of `vibee bench serve --json-out` for the same workload: prints the error");
    args.add("--record", record, "write what is decided, step by step, to this file");
    args.add("--replay", replay,
             "decide again what `vibee serve --record` wrote to this file, and say where it differs");
    args.add("--json", json, "print an object");
    args.add("--json-out", json_out, "write the object to this file");
    args.add("--html", html, "write a page with distributions and a timeline to this file");
    args.example("vibee plan serve smollm2-135m --workload W-32")
        .example("vibee plan serve smollm2-135m --rate 8 --prompt 200 --output 64 --policy orca --batch 64")
        .example("vibee plan serve smollm2-135m --workload W-open --find-rate")
        .example("vibee plan serve --replay schedule.txt");
  }
};

/// This machine's times: kept ones, or measured ones, which are kept then.
Result<ServeTimes> own_times(const PlanArgs& a) {
  VIBEE_ASSIGN(ServeTimes times, serve_times_for(a.load));
  if (!a.measure) {
    auto kept = load_serve_times(times);
    if (kept.ok()) return kept;
  }
  const bool terminal = isatty(STDERR_FILENO);
  VIBEE_ASSIGN(times.cost, measure_serve_cost(a.load, [terminal](std::string_view what) {
                 if (terminal) std::fputs(fmt::format("\r\033[Kmeasuring: {}", what).c_str(), stderr);
                 return !interrupted();
               }));
  end_progress();
  VIBEE_TRY(save_serve_times(times).take_status());
  return times;
}

Result<ServeTimes> times_of(const PlanArgs& a) {
  if (a.step_times.empty()) return own_times(a);
  VIBEE_ASSIGN(const std::string text, read_text(a.step_times));
  return parse_serve_times(text, a.step_times);
}

Result<WorkloadOutput> run(const PlanArgs& a) {
  VIBEE_TRY(a.workload.check());
  VIBEE_ASSIGN(const Resolved resolved, resolve(a.load));
  if (pools(resolved.config.output))
    return error(Code::unsupported, "{} makes vectors; only texts are planned", resolved.path);
  std::optional<PlanReference> reference;
  if (!a.against.empty()) {
    VIBEE_ASSIGN(const std::string text, read_text(a.against));
    VIBEE_ASSIGN(reference, parse_plan_reference(text, a.against));
  }
  VIBEE_ASSIGN(const ServeTimes times, times_of(a));
  if (!a.write_times.empty()) VIBEE_TRY(write_file(a.write_times, serve_times_text(times)));
  VIBEE_ASSIGN(const auto tokenizer, open_tokenizer(a.load.model));
  SimulatedTarget target;
  ServeSimConfig& s = target.server;
  s.session = resolved.session;
  s.session.pages = resolved.plan.page_count;
  VIBEE_ASSIGN(s.engine.policy, find_policy(a.load.policy));
  VIBEE_ASSIGN(s.engine.order, find_order(a.load.order));
  s.prefix = a.load.prefix;
  s.queue = a.queue;
  s.cost = times.cost;
  s.seed = a.workload.seed;
  if (s.engine.policy == &kSarathiServe) {
    VIBEE_ASSIGN(
        s.promise_s,
        promised_seconds(StepTime(times.cost.start.rows.empty() ? times.cost.step : times.cost.start), a.load.tbt_ms));
  }
  std::string log_text;
  ScheduleLog log([&log_text](std::string_view line) { (log_text += line) += '\n'; });
  if (!a.record.empty()) s.engine.log = &log;
  target.model = a.load.model;
  target.tokenizer = tokenizer.get();
  target.chat = a.endpoint == "chat";
  target.keys = a.keys;
  target.times = fmt::format("step times of {}, {} ({})", times.cpu, times.date,
                             a.step_times.empty() ? times.options : a.step_times);
  VIBEE_ASSIGN(const auto server, simulated_bench_server(std::move(target)));
  VIBEE_ASSIGN(WorkloadOutput out, run_workload(a.workload, *server));
  if (!a.record.empty()) VIBEE_TRY(write_file(a.record, log_text));
  if (reference) {
    if (!out.report) return error(Code::invalid, "--against compares a single run; leave out --find-rate and --sweep");
    const PlanError error = plan_error(*reference, out.report->all);
    out.text += "\n" + plan_error_text(error);
    out.json = JsonObject().raw("report", out.json).raw("error", plan_error_json(error)).str();
  }
  return out;
}

Result<WorkloadOutput> replay(const PlanArgs& a) {
  VIBEE_ASSIGN(const std::string text, read_text(a.replay));
  VIBEE_ASSIGN(const ReplayReport r, replay_schedule(text, a.replay));
  WorkloadOutput out;
  out.good = !r.difference;
  out.text = fmt::format("{}: {} steps, {} requests; ", a.replay, r.steps, r.requests);
  out.text += r.difference ? fmt::format("line {} is decided otherwise\n  logged  {}\n  decided {}\n",
                                         r.difference->line, r.difference->logged, r.difference->decided)
                           : std::string("every decision is the same\n");
  JsonObject json;
  json.integer("steps", r.steps).integer("requests", r.requests).boolean("same", !r.difference);
  if (r.difference)
    json.integer("line", r.difference->line)
        .text("logged", r.difference->logged)
        .text("decided", r.difference->decided);
  out.json = json.str();
  return out;
}

}  // namespace

void describe_plan_serve(Args& plan) {
  static PlanArgs shown;  // what the arguments are bound to; they are never parsed here
  shown.add_to(plan.sub("serve", kSummary));
}

int verb_plan_serve(int argc, char** argv) {
  PlanArgs a;
  Args args("plan serve", kSummary);
  a.add_to(args);
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  const auto out = a.replay.empty() ? run(a) : replay(a);
  end_progress();
  if (!out.ok()) return fail("plan serve", out.status());
  for (const auto& [path, text] : {std::pair(a.json_out, out->json + "\n"), std::pair(a.html, out->html)}) {
    if (path.empty()) continue;
    const Status written = write_file(path, text);
    if (!written.ok()) return fail("plan serve", written);
  }
  std::fputs((a.json ? out->json + "\n" : out->text).c_str(), stdout);
  return out->good ? kExitOk : kExitFailed;
}

}  // namespace vibee
