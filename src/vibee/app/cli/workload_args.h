// SPDX-License-Identifier: Apache-2.0
// The options that say what is sent: of `bench serve`, which sends it, and `plan serve`, which simulates that.
#pragma once

#include <optional>
#include <string>

#include "vibee/app/cli/args.h"
#include "vibee/app/traffic/bench_serve.h"

namespace vibee {

struct WorkloadArgs {
  std::string workload;
  std::optional<std::string> prompt, output, rate, goodput, file;
  std::optional<uint64_t> clients, requests, prefix, groups, turns, warmup;
  std::optional<double> zipf, think, scale, burstiness, stretch;
  uint64_t seed = 1;
  uint32_t sweep = 0;
  bool find = false;

  /// `prefix_name`: of the option of the prefix's tokens, where another has the usual one.
  void add_to(Args& args, const char* prefix_name = "--prefix,--prefix-tokens");
  /// What is wrong with them is found before anything takes time.
  Status check() const;
  Result<TrafficConfig> config() const;
  std::string name() const { return workload.empty() ? "own workload" : workload; }
};

/// What is printed and written.
struct WorkloadOutput {
  std::string text, json, html;
  bool good = false;
  std::optional<TrafficReport> report = {};  ///< of a single run
};
/// The run, or the series of runs, that the options ask for.
Result<WorkloadOutput> run_workload(const WorkloadArgs& args, BenchServer& server);

/// The line of a run that is under way, on a terminal.
void end_progress();

}  // namespace vibee
