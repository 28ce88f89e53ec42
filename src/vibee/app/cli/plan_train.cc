// SPDX-License-Identifier: Apache-2.0
// vibee plan train: what a run would take, without running it.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/plan.h"
#include "vibee/app/cli/read_text.h"
#include "vibee/app/cli/workload_args.h"
#include "vibee/app/jobs/rates_file.h"
#include "vibee/app/jobs/train_forecast.h"
#include "vibee/app/jobs/train_setup.h"
#include "vibee/dist/shard/data_parallel.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

constexpr std::string_view kSummary =
    "Says what `vibee train` with the same file would take, without training: operations, time and memory by reason, "
    "and what would fit. Times are prices of the graph's nodes on rates that were measured on this machine once.";

struct PlanTrainArgs {
  std::string path, rates, write_rates;
  std::vector<std::string> set;
  uint32_t emulate = 0, ranks = 0;
  bool again = false, json = false;

  void add_to(Args& args) {
    args.add("CONFIG", path, "a TOML file, as `vibee train` reads it; it needs neither out nor data");
    args.add("--set", set, "KEY=VALUE in the place of the file's, e.g. train.part=4; may be given several times");
    args.add("--emulate", emulate, "ranks that are threads of one process; 0: none").between(0, 256);
    args.add("--ranks", ranks, "ranks that are processes of this machine (`vibee launch -n`); 0: none").between(0, 256);
    args.add("--again", again, "measure this machine's rates again; they are kept for later plans");
    args.add("--rates", rates, "a file of rates, of another machine (--write-rates there)");
    args.add("--write-rates", write_rates, "write the rates to this file");
    args.add("--json", json, "print an object");
    args.example("vibee plan train train.toml")
        .example("vibee plan train train.toml --set train.part=4 --set train.recompute=full")
        .example("vibee plan train train.toml --emulate 2 --json")
        .example("vibee plan train train.toml --again");
  }
};

Result<MachineRates> rates_of(const PlanTrainArgs& a, uint32_t threads) {
  if (a.rates.empty()) return own_rates(threads, a.again);
  VIBEE_ASSIGN(const std::string text, read_text(a.rates));
  return parse_rates(text, a.rates);
}

Result<TrainForecast> run(const PlanTrainArgs& a) {
  VIBEE_ASSIGN(const TrainConfig config, read_train_config(a.path, a.set, ConfigUse::plan));
  const uint32_t meshed = config.mesh.empty() ? 1 : ranks_of_mesh(config.mesh);
  const TrainRanks ranks{std::max({1u, a.emulate, a.ranks, a.emulate + a.ranks == 0 ? meshed : 0}), a.ranks == 0};
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  VIBEE_ASSIGN(const MachineRates rates, rates_of(a, threads_at_once(config, ranks, cores)));
  if (!a.write_rates.empty()) VIBEE_TRY(write_file(a.write_rates, rates_text(rates)));
  return forecast_training(config, ranks, {cores, allowed_memory(config)}, rates);
}

}  // namespace

Result<MachineRates> own_rates(uint32_t threads, bool again) {
  const bool terminal = isatty(STDERR_FILENO);
  auto rates = machine_rates(threads, again, [terminal](std::string_view what) {
    if (terminal) std::fputs(fmt::format("\r\033[Kmeasuring this machine: {}", what).c_str(), stderr);
    return !interrupted();
  });
  end_progress();
  return rates;
}

void describe_plan_train(Args& plan) {
  static PlanTrainArgs shown;  // what the arguments are bound to; they are never parsed here
  shown.add_to(plan.sub("train", kSummary));
}

int verb_plan_train(int argc, char** argv) {
  PlanTrainArgs a;
  Args args("plan train", kSummary);
  a.add_to(args);
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (a.path.empty()) return fail_usage("plan train", "name a CONFIG.toml");
  if (a.emulate > 0 && a.ranks > 0) return fail_usage("plan train", "--emulate or --ranks, not both");
  catch_interrupt();
  const auto forecast = run(a);
  if (!forecast.ok()) return fail("plan train", forecast.status());
  std::fputs((a.json ? forecast_json(*forecast) + "\n" : forecast_text(*forecast)).c_str(), stdout);
  return kExitOk;
}

}  // namespace vibee
