// SPDX-License-Identifier: Apache-2.0
// `vibee bench serve`: the load generator (app/traffic), a verb of its own below `bench`.
#pragma once

#include "vibee/app/cli/args.h"

namespace vibee {

/// `argv[0]` is "serve".
int verb_bench_serve(int argc, char** argv);
/// Its arguments as a part of the page of `vibee bench`.
void describe_bench_serve(Args& bench);

}  // namespace vibee
