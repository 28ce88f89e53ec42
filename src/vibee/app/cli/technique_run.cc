// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/technique_run.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "vibee/app/cli/cli.h"
#include "vibee/base/text/json_quote.h"

namespace vibee {
namespace {

enum class Kind { check, bench };

struct Outcome {
  const CatalogEntry* entry;
  Status status;
  std::vector<Finding> findings;
  std::vector<std::string> not_built, needs;
  double seconds = 0;
  bool passed = false;
};

Outcome run_one(const CatalogEntry& entry, Kind kind, const RunSettings& settings) {
  Outcome outcome{&entry, {}, {}, {}, {}, 0, false};
  const auto start = std::chrono::steady_clock::now();
  const auto finish = [&](const ContextBase& context) {
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    outcome.findings = context.findings();
    outcome.passed = outcome.status.ok() && context.passed() && !outcome.findings.empty();
    if (outcome.status.ok() && outcome.findings.empty())
      outcome.status = error(Code::invalid, "{} reported nothing", entry.name);
  };
  if (kind == Kind::check) {
    CheckContext context(settings);
    outcome.status = entry.technique->check(context);
    outcome.not_built = context.missing_parts();
    for (const DeviceNeed& need : context.device_needs()) outcome.needs.push_back(text(need));
    finish(context);
  } else {
    BenchContext context(settings);
    outcome.status = entry.technique->bench(context);
    finish(context);
  }
  return outcome;
}

std::string finding_text(const Finding& f, Kind kind) {
  std::string line = fmt::format("  {} {:<44} {:>12.6g} {:<8}", f.passed ? " ok " : "FAIL", f.name, f.value, f.unit);
  if (kind == Kind::check) line += fmt::format(" bound {:.6g}", f.bound);
  if (kind == Kind::bench && f.bound != 0)
    line += fmt::format(" {:5.1f} % of {:.6g}", 100 * f.value / f.bound, f.bound);
  if (!f.note.empty()) line += "  " + f.note;
  while (line.back() == ' ') line.pop_back();
  return line + "\n";
}

std::string outcome_text(const Outcome& o, Kind kind) {
  std::string out = fmt::format("{} {}: {} ({} figures, {:.2f} s)\n", o.entry->version, o.entry->name,
                                o.passed ? "passed" : "FAILED", o.findings.size(), o.seconds);
  if (o.entry->version.empty()) out.erase(0, 1);
  for (const Finding& f : o.findings) out += finding_text(f, kind);
  for (const std::string& part : o.not_built) out += fmt::format("   --  not built: {}\n", part);
  for (const std::string& need : o.needs) out += fmt::format("   --  {}\n", need);
  if (!o.status.ok()) out += fmt::format("  error: {}\n", o.status.message());
  return out;
}

std::string outcome_json(const Outcome& o) {
  std::string findings, parts, needs;
  for (const Finding& f : o.findings)
    findings +=
        fmt::format("{}{{\"name\": {}, \"value\": {}, \"unit\": {}, \"bound\": {}, \"passed\": {}, \"note\": {}}}",
                    findings.empty() ? "" : ", ", json_quote(f.name), json_number(f.value), json_quote(f.unit),
                    json_number(f.bound), f.passed, json_quote(f.note));
  for (const std::string& part : o.not_built) parts += (parts.empty() ? "" : ", ") + json_quote(part);
  for (const std::string& need : o.needs) needs += (needs.empty() ? "" : ", ") + json_quote(need);
  return fmt::format(
      "{{\"id\": {}, \"name\": {}, \"passed\": {}, \"seconds\": {}, \"error\": {}, \"not_built\": [{}], \"needs\": "
      "[{}], \"results\": [{}]}}",
      json_quote(o.entry->version), json_quote(o.entry->name), o.passed, json_number(o.seconds),
      json_quote(o.status.message()), parts, needs, findings);
}

int run_all(const TechniqueArgs& args, Kind kind, const char* verb) {
  const std::vector<CatalogEntry> catalog = make_catalog(std::span<const std::string>{});
  std::vector<const CatalogEntry*> chosen;
  for (const std::string& id : args.ids) {
    const Result<const CatalogEntry*> entry = find_entry(catalog, id);
    if (!entry.ok()) return fail(verb, entry.status());
    if ((*entry)->technique == nullptr)
      return fail(
          verb, error(Code::unsupported, "{} is missing: {} has no row for it yet", (*entry)->name, (*entry)->folder));
    chosen.push_back(*entry);
  }
  if (args.ids.empty())
    for (const CatalogEntry& entry : catalog)
      if (entry.technique != nullptr) chosen.push_back(&entry);
  const Result<RunSettings> settings = args.settings();
  if (!settings.ok()) return fail(verb, settings.status());

  size_t failed = 0;
  std::string json;
  for (const CatalogEntry* entry : chosen) {
    const Outcome outcome = run_one(*entry, kind, *settings);
    failed += outcome.passed ? 0 : 1;
    if (args.json)
      json += (json.empty() ? "\n  " : ",\n  ") + outcome_json(outcome);
    else
      std::fputs(outcome_text(outcome, kind).c_str(), stdout), std::fflush(stdout);
  }
  if (args.json)
    std::fputs(fmt::format("[{}]\n", json.empty() ? json : json + "\n").c_str(), stdout);
  else
    std::fputs(fmt::format("{} of {} passed\n", chosen.size() - failed, chosen.size()).c_str(), stdout);
  return failed == 0 ? kExitOk : kExitFailed;
}

}  // namespace

void TechniqueArgs::add_to(Args& args) {
  args.add("ID", ids, "techniques by name or number (v1671); none: all that are built");
  args.add("--model", model, "also on this model");
  args.add("--threads", threads, "threads; 0 = one a core").between(0, 1024);
  args.add("--isa", isa, "the best instruction set that may be used: scalar, avx2, avx512, amx");
  args.add("--seed", seed, "seed of the random data");
  args.add("--full", full, "the full sweep instead of a few seconds");
  args.add("--json", json, "print JSON");
}

Result<RunSettings> TechniqueArgs::settings() const {
  RunSettings out;
  out.model = model;
  out.threads = threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
  out.isa = detected_isa();
  if (!isa.empty()) {
    VIBEE_ASSIGN(out.isa, parse_isa(isa));
  }
  out.seed = seed;
  out.quick = !full;
  return out;
}

int check_techniques(const TechniqueArgs& args) { return run_all(args, Kind::check, "tree check"); }
int bench_techniques(const TechniqueArgs& args) { return run_all(args, Kind::bench, "bench"); }

}  // namespace vibee
