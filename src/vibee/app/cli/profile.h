// SPDX-License-Identifier: Apache-2.0
// What a plan's profile looks like to people, and as a Chrome trace (chrome://tracing, Perfetto).
#pragma once

#include <string>

#include "vibee/model/session/session.h"

namespace vibee {

/// Steps are timed from now on.
Status enable_profile(Session& session);
/// Time by kind of call: work of the busiest thread or of the device, waiting at barriers, calls, share.
std::string profile_table(Session& session);
/// The calls of thread 0, or of the device, as complete events; written whole or not at all.
Status write_trace(Session& session, const std::string& path);

}  // namespace vibee
