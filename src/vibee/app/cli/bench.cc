// SPDX-License-Identifier: Apache-2.0
// vibee bench ID: what a technique gives on this machine, measured.
#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/technique_run.h"

namespace vibee {

int verb_bench(int argc, char** argv) {
  TechniqueArgs techniques;
  Args args("bench", "Measures techniques on this machine.");
  techniques.add_to(args);
  args.example("vibee bench memory_efficient_attn").example("vibee bench v1671 --full --json");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  return bench_techniques(techniques);
}

}  // namespace vibee
