// SPDX-License-Identifier: Apache-2.0
// vibee plan serve: described here, so that `vibee plan --help` and its page know it.
#pragma once

#include "vibee/app/cli/args.h"

namespace vibee {

void describe_plan_serve(Args& plan);
int verb_plan_serve(int argc, char** argv);

}  // namespace vibee
