// SPDX-License-Identifier: Apache-2.0
// vibee tune: which options pay, for this model on this machine.
#include <unistd.h>

#include <charconv>
#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/jobs/tune_model.h"
#include "vibee/app/jobs/tuned_file.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

/// "90", "90s", "5m", "1h" in seconds.
Result<double> parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, size_t(text.data() + text.size() - end));
  const double factor = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (failed != std::errc() || !(value * factor >= 1) || !(value * factor <= 7 * 86400))
    return error(Code::invalid, "--time {}: write seconds, or 5m, 1h; a week at most", text);
  return value * factor;
}

struct TuneArgs {
  LoadConfig load;
  TuneConfig tune;
  std::string time = "5m", lossy = "none", text, json_out, html;
  bool json = false;
};

Result<TuneReport> run(TuneArgs& a) {
  VIBEE_ASSIGN(a.tune.seconds, parse_duration(a.time));
  if (a.lossy != "none") {
    double kl = 0;
    const auto [end, failed] = std::from_chars(a.lossy.data(), a.lossy.data() + a.lossy.size(), kl);
    if (failed != std::errc() || end != a.lossy.data() + a.lossy.size() || !(kl > 0) || !(kl < 100))
      return error(Code::invalid, "--lossy {}: write none, or the KL divergence that may be lost, e.g. 0.01", a.lossy);
    a.tune.lossy = kl;
  }
  std::string text;
  if (!a.text.empty()) {
    VIBEE_ASSIGN(text, read_text(a.text));
  }
  return tune_model(a.load, a.tune, text, [terminal = isatty(STDERR_FILENO)](std::string_view what, double fraction) {
    if (terminal) std::fputs(fmt::format("\r\033[K{:.0f} %, {}", 100 * fraction, what).c_str(), stderr);
    return !interrupted();
  });
}

Result<std::string> keep(const TuneArgs& a, const TuneReport& report) {
  if (!a.json_out.empty()) VIBEE_TRY(write_file(a.json_out, tune_json(report) + "\n"));
  if (!a.html.empty()) VIBEE_TRY(write_file(a.html, tune_html(report)));
  return save_tuned(report);
}

}  // namespace

int verb_tune(int argc, char** argv) {
  TuneArgs a;
  Args args("tune",
            "Measures every option that this model and machine leave to choose: beside the plain run, in alternating "
            "pairs of processes, with what it costs in quality. Then combines what pays, and measures that. `vibee run "
            "--tuned` uses the result.");
  add_model_args(args, a.load);
  args.add("--time", a.time, "about how long it may take: 90s, 5m, 1h");
  args.add("--lossy", a.lossy, "KL divergence (nats) that may be given away for speed; none: the same bytes");
  args.add("-p,--prompt", a.tune.prompt, "tokens of the prompt of the request that is to be fast").between(1, 1 << 20);
  args.add("-n,--tokens", a.tune.generate, "tokens that it generates").between(2, 1 << 20);
  args.add("--pairs", a.tune.pairs, "pairs of each measurement").between(7, 1000);
  args.add("--text", a.text, "a text to measure quality over; default: what the model itself writes");
  args.add("--json", a.json, "print an object");
  args.add("--json-out", a.json_out, "write the object to this file");
  args.add("--html", a.html, "write a page with the picture of speed and quality to this file");
  args.example("vibee tune smollm2-135m --time 5m --html tune.html")
      .example("vibee tune smollm2-135m --lossy 0.01 --prompt 512 --tokens 64")
      .example("vibee run smollm2-135m --tuned \"Why is the sky blue?\"");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  const auto report = run(a);
  if (isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
  if (!report.ok()) return fail("tune", report.status());
  const auto kept = keep(a, *report);
  if (!kept.ok()) return fail("tune", kept.status());
  if (a.json)
    std::puts(tune_json(*report).c_str());
  else
    std::fputs((tune_text(*report) + "kept in " + *kept + "; `vibee run --tuned` uses it\n").c_str(), stdout);
  return kExitOk;
}

}  // namespace vibee
