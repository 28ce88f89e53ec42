// SPDX-License-Identifier: Apache-2.0
// Requests over HTTP.
#pragma once

#include "vibee/app/traffic/target.h"
#include "vibee/app/traffic/traffic_server.h"

namespace vibee {

/// `target` outlives it.
std::unique_ptr<TrafficServer> http_traffic(const Target& target);

}  // namespace vibee
