// SPDX-License-Identifier: Apache-2.0
// The parts of vibee plan: described here, so that `vibee plan --help` and its page know them.
#pragma once

#include "vibee/app/cli/args.h"
#include "vibee/base/status/status.h"
#include "vibee/hw/cost/machine_rates.h"

namespace vibee {

void describe_plan_serve(Args& plan);
int verb_plan_serve(int argc, char** argv);

void describe_plan_train(Args& plan);
int verb_plan_train(int argc, char** argv);
/// This machine's rates, with a line on a terminal while they are measured.
Result<MachineRates> own_rates(uint32_t threads, bool again);

}  // namespace vibee
