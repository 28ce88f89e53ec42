// SPDX-License-Identifier: Apache-2.0
// vibee launch: a verb on several processes.
#include "vibee/dist/launch/launch.h"

#include <cstdio>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/jobs/bench_process.h"

namespace vibee {

int verb_launch(int argc, char** argv) {
  LaunchOptions options;
  std::vector<std::string> verb;
  Args args("launch",
            "Runs `vibee train` on several processes of this machine, started by Open MPI. A rank that dies or hangs "
            "ends the job within ten seconds, and its last checkpoint goes on with any number of ranks. Ctrl-C leaves "
            "a checkpoint.");
  args.add("-n,--ranks", options.ranks, "processes; cores are divided among them").between(1, 256).required();
  args.add("VERB", verb, "behind --: train and its arguments").required();
  args.example("vibee launch -n 2 -- train train.toml");
  args.example("vibee launch -n 4 -- train train.toml --resume");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (verb.empty() || verb[0] != "train") return fail_usage("launch", "train is the verb that runs on ranks");
  auto self = own_binary();
  if (!self.ok()) return fail("launch", self.status());
  options.command = {*self};
  options.command.insert(options.command.end(), verb.begin(), verb.end());
  catch_interrupt();
  options.interrupted = interrupted;
  options.line = [](const std::string& line) { std::fputs((line + "\n").c_str(), stderr); };
  const auto code = launch(options);
  if (!code.ok()) return fail("launch", code.status());
  return *code;
}

}  // namespace vibee
