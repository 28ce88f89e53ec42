// SPDX-License-Identifier: Apache-2.0
// vibee bench MODEL: how fast, and how near the machine's limit. vibee bench ID: one technique. vibee bench --compare:
// two builds. vibee bench serve: a server (bench_serve.cc).
#include <unistd.h>

#include <cstdio>

#include "vibee/app/catalog/catalog.h"
#include "vibee/app/cli/args.h"
#include "vibee/app/cli/bench_serve.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/technique_run.h"
#include "vibee/app/jobs/bench_model.h"
#include "vibee/app/jobs/bench_process.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"
#include "vibee/graph/exec/overhead.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

std::string report_text(const BenchReport& r, const BenchConfig& c) {
  std::string out = fmt::format("load {:.2f} s; first token of a prompt of 20 after {:.4f} s\n", r.load_seconds,
                                r.first_token_seconds);
  out += fmt::format("prompt of {:<5} {:>9.1f} tokens/s", c.prompt, r.prompt_rate);
  if (r.int8_gops > 0)
    out +=
        fmt::format("   {:.0f} of {:.0f} GOP/s int8 ({:.0f} %)", r.prompt_gops, r.int8_gops, 100 * r.prompt_fraction());
  out += fmt::format("\ngenerate {:<7} {:>9.1f} tokens/s", c.generate, r.generate_rate);
  if (r.bandwidth() > 0)
    out += fmt::format("   {:.1f} of {:.1f} GB/s read ({:.0f} % of the floor; probed {:.1f} before, {:.1f} after)",
                       r.generate_rate * r.bytes_per_token / 1e9, r.bandwidth(), 100 * r.generate_fraction(),
                       r.bandwidth_before, r.bandwidth_after);
  if (c.depth > 0) out += fmt::format(", behind {} tokens", c.depth);
  if (c.sequences > 1) out += fmt::format("\n{:<3} together     {:>9.1f} tokens/s in all", c.sequences, r.batch_rate);
  return out + fmt::format("\nmemory stated {:.1f} MiB, peak resident {:.1f} MiB\n", double(r.stated_bytes) / (1 << 20),
                           double(r.peak_resident) / (1 << 20));
}

/// Interleaved A/B of this build against another binary, or this build against a stored report.
int compare(const std::string& other, const LoadConfig& config, const BenchConfig& bench, uint32_t pairs, double least,
            bool json) {
  std::vector<std::string> arguments = {config.model,
                                        "--prompt",
                                        std::to_string(bench.prompt),
                                        "--tokens",
                                        std::to_string(bench.generate),
                                        "--sequences",
                                        std::to_string(bench.sequences),
                                        "--runs",
                                        "3"};
  if (bench.depth) arguments.insert(arguments.end(), {"--depth", std::to_string(bench.depth)});
  if (config.threads) arguments.insert(arguments.end(), {"--threads", std::to_string(config.threads)});
  const bool stored = other.size() > 5 && other.ends_with(".json");
  const auto self = own_binary();
  if (!self.ok()) return fail("bench", self.status());
  const auto go_on = [] { return !interrupted(); };
  std::vector<double> mine[3], theirs[3];
  for (uint32_t i = 0; i < pairs; ++i) {
    // The order within a pair alternates, so that a drift of the machine favours neither.
    for (int turn = 0; turn < 2; ++turn) {
      const bool me = (turn == 0) == (i % 2 == 0);
      auto f = !me && stored ? read_bench_report(other) : bench_process(me ? *self : other, arguments, go_on);
      if (!f.ok()) return fail("bench", f.status());
      auto* to = me ? mine : theirs;
      to[0].push_back(f->prompt);
      to[1].push_back(f->generate);
      to[2].push_back(f->batch);
    }
    if (isatty(STDERR_FILENO)) std::fputs(fmt::format("\r\033[K{} of {} pairs", i + 1, pairs).c_str(), stderr);
  }
  if (isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
  std::vector<std::string> rows;
  bool slower = false;
  const char* names[] = {"prompt", "generate", "together"};
  for (int k = 0; k < 3; ++k) {
    if (bench.sequences < 2 && k == 2) continue;
    const PairedRatio r = paired_ratio(mine[k], theirs[k]);
    const bool differs = r.differs(least);
    slower |= differs && r.ratio < 1;
    const char* verdict = differs ? (r.ratio < 1 ? "slower" : "faster") : "no difference shown";
    rows.push_back(JsonObject()
                       .text("figure", names[k])
                       .number("ratio", r.ratio)
                       .number("low", r.low)
                       .number("high", r.high)
                       .text("verdict", verdict)
                       .str());
    if (!json)
      std::puts(fmt::format("{:<9} this build is {:.3f} x the other ({:.3f} to {:.3f}, {} pairs): {}", names[k],
                            r.ratio, r.low, r.high, pairs, verdict)
                    .c_str());
  }
  if (json)
    std::puts(JsonObject().text("other", other).integer("pairs", pairs).raw("rows", json_array(rows)).str().c_str());
  return slower ? kExitFailed : kExitOk;
}

/// True when the first argument names a technique, so that `bench ID` and `bench MODEL` share the verb.
bool names_technique(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return false;
  const std::vector<CatalogEntry> entries = make_catalog(std::span<const std::string>{});
  return find_entry(entries, argv[1]).ok();
}

/// vibee bench executor: what the executor adds to its kernels, against its bound.
int bench_executor() {
  const auto r = executor_overhead(2, 2000, detected_isa());
  if (!r.ok()) return fail("bench", r.status());
  std::puts(
      fmt::format(
          "executor: {:.2f} us a layer and token beyond its kernels, {:.2f} in the quietest tenth (bound {:.0f})\n"
          "a step of {} layers takes {:.1f} us, {:.1f} of them in {} calls; {} regions",
          r->overhead_us, r->quiet_us, kOverheadBound, r->layers, r->step_us, r->kernel_us, r->calls, r->regions)
          .c_str());
  return r->quiet_us <= kOverheadBound ? kExitOk : kExitFailed;
}

}  // namespace

int verb_bench(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "executor") return bench_executor();
  if (argc > 1 && std::string_view(argv[1]) == "serve") return verb_bench_serve(argc - 1, argv + 1);
  if (names_technique(argc, argv)) {
    TechniqueArgs technique;
    Args args("bench", "Times techniques against this machine's limits.");
    technique.add_to(args);
    if (auto exit_status = args.parse(argc, argv)) return *exit_status;
    return bench_techniques(technique);
  }
  LoadConfig config;
  BenchConfig bench;
  bool json = false, no_probe = false;
  std::string out, other;
  uint32_t pairs = 21;
  double least = 2;
  Args args("bench",
            "Times a model (prompt, generation, several sequences together) and gives each figure as a share of what "
            "this machine allows, "
            "measured in the same run. `vibee bench ID` times a technique, `vibee bench serve` a server.");
  add_model_args(args, config);
  args.add("-p,--prompt", bench.prompt, "tokens of the prompt").between(1, 1 << 20);
  args.add("-n,--tokens", bench.generate, "tokens to generate").between(2, 1 << 20);
  args.add("-d,--depth", bench.depth, "tokens of text before those that are generated").between(0, 1 << 20);
  args.add("--sequences", bench.sequences, "sequences generated together; 1: leave it out").between(1, 4096);
  args.add("--runs", bench.runs, "counted runs; medians are reported").between(1, 1000);
  args.add("--no-probe", no_probe, "do not measure the machine's limits");
  args.add("--compare", other, "another vibee binary (interleaved A/B), or a .json report of --json-out");
  args.add("--pairs", pairs, "pairs of --compare").between(1, 1000);
  args.add("--least", least, "smallest difference that --compare reports, in percent").between(0, 100);
  args.add("--json-out", out, "write the report to this file");
  args.add("--json", json, "print an object");
  describe_bench_serve(args);
  args.example("vibee bench smollm2-135m")
      .example("vibee bench smollm2-135m --compare ./vibee-old")
      .example("vibee bench memory_efficient_attn");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  catch_interrupt();
  bench.probe = !no_probe;
  if (!other.empty()) return compare(other, config, bench, pairs, least / 100, json);
  const bool terminal = isatty(STDERR_FILENO);
  auto report = bench_model(config, bench, [&](std::string_view what, double fraction) {
    if (terminal) std::fputs(fmt::format("\r\033[K{} {:.0f} %", what, 100 * fraction).c_str(), stderr);
    return !interrupted();
  });
  if (terminal) std::fputs("\r\033[K", stderr);
  if (!report.ok()) return fail("bench", report.status());
  const std::string object = bench_json(*report, config, bench);
  if (!out.empty()) {
    const Status written = write_file(out, object + "\n");
    if (!written.ok()) return fail("bench", written);
  }
  std::fputs((json ? object + "\n" : report_text(*report, bench)).c_str(), stdout);
  return kExitOk;
}

}  // namespace vibee
