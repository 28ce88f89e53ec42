// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/bench_serve.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/open_tokenizer.h"
#include "vibee/app/traffic/bench_serve.h"
#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

struct ServeArgs {
  std::string url = "http://127.0.0.1:8080", endpoint = "chat", workload, model, tokenizer, fields, ca_file;
  std::string json_out, html;
  std::vector<std::string> keys;
  std::optional<std::string> prompt, output, rate, goodput, file;
  std::optional<uint64_t> clients, requests, prefix, groups, turns, warmup;
  std::optional<double> zipf, think, scale, burstiness, stretch;
  double wait = 0, timeout = 600, temperature = 0;
  uint64_t seed = 1;
  uint32_t sweep = 0;
  bool ids = false, keep_end = false, insecure = false, json = false, find = false;

  void add_to(Args& args) {
    std::vector<std::string> presets;
    for (const Preset& p : all_presets()) presets.emplace_back(p.id);
    args.add("--url", url, "the server");
    args.add("--workload", workload, "a workload by name; options below change it").one_of(presets);
    args.add("--requests", requests, "conversations that are sent").between(1, 1e7);
    args.add("--prompt", prompt, "tokens of a prompt: 64, 32-128, lognormal:MEAN,CV or quantiles:0=10,0.5=100,1=4000");
    args.add("--output", output, "tokens of an answer, as --prompt");
    args.add("--prefix", prefix, "tokens that the prompts of a group begin with").between(0, 1 << 20);
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
    args.add("--endpoint", endpoint, "chat or completions").one_of({"chat", "completions"});
    args.add("--served-model", model, "the model's name at the server; default: the first of /v1/models");
    args.add("--tokenizer", tokenizer,
             "a model (or tokenizer.json) as `vibee tokenizer` takes it: prompts get exactly "
             "the tokens stated, answers are counted by it");
    args.add("--ids", ids, "with --endpoint completions and --tokenizer: send token ids");
    args.add("--keep-end", keep_end, "let answers end where the model ends them (no \"ignore_eos\")");
    args.add("--temperature", temperature, "of sampling").between(0, 100);
    args.add("--fields", fields, "more members of every request, as JSON: '{\"top_k\": 40}'");
    args.add("--api-key", keys, "bearer token; several are taken in turn");
    args.add("--ca", ca_file, "certificates to trust, in PEM");
    args.add("--insecure", insecure, "do not verify the server's certificate");
    args.add("--wait", wait, "seconds to wait for /health").between(0, 1e5);
    args.add("--timeout", timeout, "seconds of silence after which a request has failed").between(0.1, 1e6);
    args.add("--seed", seed, "same seed, same texts and times");
    args.add("--json", json, "print an object");
    args.add("--json-out", json_out, "write the object to this file");
    args.add("--html", html,
             "write a page with distributions and a timeline (of a series: of its best or last run) to this file");
    args.example("vibee bench serve --url http://127.0.0.1:8080 --workload W-32 --html report.html")
        .example("vibee bench serve --rate 4 --prompt 200 --output 64 --goodput ttft:1500,tpot:80@0.9")
        .example("vibee bench serve --workload W-open --find-rate")
        .example("vibee bench serve --file trace.csv --time-scale 0.5 --tokenizer smollm2-135m");
  }

  Result<TrafficConfig> config() const {
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
      return error(Code::invalid,
                   "--clients is a closed loop, --rate and --time-scale are open ones; give one of them");
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

  Result<Target> target(const Tokenizer* own) const {
    Target t;
    VIBEE_ASSIGN(t.url, parse_url(url));
    t.http.silent_s = timeout;
    t.http.ca_file = ca_file;
    t.http.insecure = insecure;
    t.chat = endpoint == "chat";
    t.model = model;
    t.keys = keys;
    t.tokenizer = own;
    t.send_ids = ids;
    t.ignore_end = !keep_end;
    t.temperature = temperature;
    if (ids && (t.chat || !own))
      return error(Code::invalid, "--ids needs --endpoint completions, and --tokenizer to make them");
    for (const std::string& key : keys)
      if (std::any_of(key.begin(), key.end(), [](char ch) { return uint8_t(ch) < 0x21 || uint8_t(ch) == 0x7f; }))
        return error(Code::invalid, "--api-key holds a space or a control character");
    VIBEE_ASSIGN(t.fields, json_members(fields));
    return t;
  }
};

void show(const TrafficProgress& p) {
  std::string eta;
  if (p.done > 0) eta = fmt::format(", about {:.0f} s left", p.seconds / double(p.done) * double(p.of - p.done));
  std::fputs(fmt::format("\r\033[K{} of {} done, {} under way, {} failed, {} tokens{}", p.done, p.of, p.under_way,
                         p.failed, p.pieces, eta)
                 .c_str(),
             stderr);
}

/// What is printed and written.
struct Output {
  std::string text, json, html;
  bool good = false;
};

Output output_of(const TrafficReport& r) {
  return {report_text(r), report_json(r), report_html(r), r.all.completed > 0 && !r.run.interrupted};
}

Result<Output> run(const ServeArgs& a) {
  if (a.find && a.sweep)
    return error(Code::invalid, "--find-rate and --sweep are two series of runs; give one of them");
  VIBEE_ASSIGN(const TrafficConfig config, a.config());
  std::unique_ptr<Tokenizer> tokenizer;
  if (!a.tokenizer.empty()) {
    VIBEE_ASSIGN(tokenizer, open_tokenizer(a.tokenizer));
  }
  VIBEE_ASSIGN(Target target, a.target(tokenizer.get()));
  const bool several = a.find || a.sweep;
  Traffic traffic;
  if (!several) {
    VIBEE_ASSIGN(traffic, make_traffic(config, tokenizer.get()));
  }
  VIBEE_TRY(prepare_target(&target, a.wait));
  const auto server = http_bench_server(target);
  const std::string name = a.workload.empty() ? "own workload" : a.workload;
  const auto progress = [terminal = isatty(STDERR_FILENO)](const TrafficProgress& p) {
    if (terminal) show(p);
    return !interrupted();
  };
  if (a.find) {
    VIBEE_ASSIGN(const RateReport r, search_rate(*server, config, name, progress));
    Output out = output_of(r.report);
    out.text += "\n" + found_text(r.found, config.limits);
    out.json = JsonObject().raw("search", found_json(r.found)).raw("report", out.json).str();
    return out;
  }
  if (a.sweep) {
    VIBEE_ASSIGN(const auto reports, sweep_rates(*server, config, a.sweep, name, progress));
    Output out = output_of(reports.back());
    out.text = sweep_text(reports);
    std::vector<std::string> items;
    for (const TrafficReport& r : reports) items.push_back(report_json(r));
    out.json = JsonObject().raw("sweep", json_array(items)).str();
    return out;
  }
  VIBEE_ASSIGN(const TrafficReport report, run_bench(*server, config, traffic, name, progress));
  return output_of(report);
}

}  // namespace

void describe_bench_serve(Args& bench) {
  static ServeArgs shown;  // what the arguments are bound to; they are never parsed here
  shown.add_to(bench.sub("serve", "Sends requests to a server of OpenAI's API and measures what its users see."));
}

int verb_bench_serve(int argc, char** argv) {
  ServeArgs a;
  Args args("bench serve", "Sends requests to a server of OpenAI's API and measures what its users see.");
  a.add_to(args);
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  const auto out = run(a);
  if (isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
  if (!out.ok()) return fail("bench serve", out.status());
  for (const auto& [path, text] : {std::pair(a.json_out, out->json + "\n"), std::pair(a.html, out->html)}) {
    if (path.empty()) continue;
    const Status written = write_file(path, text);
    if (!written.ok()) return fail("bench serve", written);
  }
  std::fputs((a.json ? out->json + "\n" : out->text).c_str(), stdout);
  return out->good ? kExitOk : kExitFailed;
}

}  // namespace vibee
