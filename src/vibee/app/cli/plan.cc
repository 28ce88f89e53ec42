// SPDX-License-Identifier: Apache-2.0
// vibee plan: what would happen, by the code that would do it.
#include "vibee/app/cli/plan.h"

#include <string_view>

#include "vibee/app/cli/cli.h"

namespace vibee {

int verb_plan(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "serve") return verb_plan_serve(argc - 1, argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "train") return verb_plan_train(argc - 1, argv + 1);
  Args args(
      "plan",
      "Says what would happen before it does: serving on a simulated clock, by the code that decides as it ships; "
      "training by prices of the graph that would run.");
  describe_plan_serve(args);
  describe_plan_train(args);
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  return fail_usage("plan", "say what: serve or train");
}

}  // namespace vibee
