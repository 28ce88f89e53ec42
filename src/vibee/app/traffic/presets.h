// SPDX-License-Identifier: Apache-2.0
// Workloads by name, so that figures of different servers, machines and days compare.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/app/traffic/arrivals.h"
#include "vibee/app/traffic/measures.h"
#include "vibee/app/traffic/workload.h"

namespace vibee {

struct PartConfig {
  std::string name;
  WorkloadConfig workload;
  Arrivals arrivals;
  bool background = false;
};

struct TrafficConfig {
  std::vector<PartConfig> parts = {PartConfig{"requests", {}, {}, false}};
  uint32_t warmup = 0;  ///< conversations that are sent before, one at a time, and not counted
  LatencyLimits limits;
  uint64_t seed = 1;
};

struct Preset {
  std::string_view id, summary;
  TrafficConfig (*make)();
};
/// The rows of presets.inc.
std::span<const Preset> all_presets();
Result<const Preset*> find_preset(std::string_view id);

}  // namespace vibee
