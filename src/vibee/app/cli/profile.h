// SPDX-License-Identifier: Apache-2.0
// What a plan's profile looks like to people, and as a Chrome trace (chrome://tracing, Perfetto).
#pragma once

#include <string>

#include "vibee/graph/exec/plan.h"

namespace vibee {

/// Time by kind of call: work of the busiest thread, waiting at barriers, calls, share.
std::string profile_table(const Plan& plan);
/// The calls of thread 0 as complete events; written whole or not at all.
Status write_trace(const Plan& plan, const std::string& path);

}  // namespace vibee
