// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/bench_serve.h"

#include <algorithm>
#include <cstdio>

#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/workload_args.h"
#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/base/text/json_object.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

struct ServeArgs {
  WorkloadArgs workload;
  std::string url = "http://127.0.0.1:8080", endpoint = "chat", model, tokenizer, fields, ca_file;
  std::string json_out, html;
  std::vector<std::string> keys;
  double wait = 0, timeout = 600, temperature = 0;
  bool ids = false, keep_end = false, insecure = false, json = false;

  void add_to(Args& args) {
    args.add("--url", url, "the server");
    workload.add_to(args);
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
    args.add("--json", json, "print an object");
    args.add("--json-out", json_out, "write the object to this file");
    args.add("--html", html,
             "write a page with distributions and a timeline (of a series: of its best or last run) to this file");
    args.example("vibee bench serve --url http://127.0.0.1:8080 --workload W-32 --html report.html")
        .example("vibee bench serve --rate 4 --prompt 200 --output 64 --goodput ttft:1500,tpot:80@0.9")
        .example("vibee bench serve --workload W-open --find-rate")
        .example("vibee bench serve --file trace.csv --time-scale 0.5 --tokenizer smollm2-135m");
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

Result<WorkloadOutput> run(const ServeArgs& a) {
  VIBEE_TRY(a.workload.check());
  std::unique_ptr<Tokenizer> tokenizer;
  if (!a.tokenizer.empty()) {
    VIBEE_ASSIGN(tokenizer, open_tokenizer(a.tokenizer));
  }
  VIBEE_ASSIGN(Target target, a.target(tokenizer.get()));
  VIBEE_TRY(prepare_target(&target, a.wait));
  return run_workload(a.workload, *http_bench_server(target));
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
  end_progress();
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
