// SPDX-License-Identifier: Apache-2.0
// What serving a model costs on this machine, for plans (plan/simulate/serve_cost.h): the model's steps are timed
// alone, then a server of it answers clients of this process over loopback, and the times of its steps, of its requests
// and of its tokens are taken apart.
#pragma once

#include "vibee/app/jobs/load.h"
#include "vibee/plan/simulate/serve_cost.h"

namespace vibee {

/// Takes about 15 s for a small model. `progress` false: Code::cancelled.
Result<ServeCost> measure_serve_cost(const LoadConfig& config,
                                     const std::function<bool(std::string_view what)>& progress);

}  // namespace vibee
