// SPDX-License-Identifier: Apache-2.0
// What serving costs (plan/simulate/serve_cost.h) as a file: kept in the cache beside what `vibee tune` chose, a file a
// model, valid for that file of the model, this machine and the options that change times; or given by the user, of
// another machine.
#pragma once

#include "vibee/app/jobs/load.h"
#include "vibee/app/jobs/tuned_file.h"
#include "vibee/plan/simulate/serve_cost.h"

namespace vibee {

struct ServeTimes {
  std::string model, cpu, date;  ///< date: UTC
  uint64_t model_bytes = 0;
  std::string options;  ///< those that change times
  ServeCost cost;
};
/// As they would be measured now, without the cost.
Result<ServeTimes> serve_times_for(const LoadConfig& config);

std::string serve_times_text(const ServeTimes& times);
/// `name` for messages. Bounds: no time is negative or longer than an hour.
Result<ServeTimes> parse_serve_times(std::string_view text, const std::string& name);

/// Path of the file that was written.
Result<std::string> save_serve_times(const ServeTimes& times);
/// Code::not_found when none were measured for what `wanted` says.
Result<ServeTimes> load_serve_times(const ServeTimes& wanted);

}  // namespace vibee
