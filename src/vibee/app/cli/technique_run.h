// SPDX-License-Identifier: Apache-2.0
// Runs the checks or benches of techniques and prints what they report: shared by `vibee tree check` and `vibee bench
// ID`.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vibee/app/catalog/catalog.h"
#include "vibee/app/cli/args.h"
#include "vibee/core/technique/context.h"

namespace vibee {

/// The arguments that both verbs share.
struct TechniqueArgs {
  std::vector<std::string> ids;
  std::string model, isa;
  uint32_t threads = 0;  ///< 0: one a core
  uint64_t seed = 1;
  bool full = false, json = false;
  void add_to(Args& args);
  Result<RunSettings> settings() const;
};

/// Of `ids`, or of every technique that is built when there are none. Exit status: 1 when a figure missed its bound.
int check_techniques(const TechniqueArgs& args);
int bench_techniques(const TechniqueArgs& args);

}  // namespace vibee
