// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme gptq, awq, compressed-tensors or bitsandbytes:TYPE: a directory in that layout
// (compress/quantize/group_model.h).
#pragma once

#include "vibee/app/jobs/quantize.h"
#include "vibee/compress/quantize/group_model.h"

namespace vibee {

struct GroupsResult {
  std::string source;
  GroupReport report;
  std::vector<std::string> warnings;
  double seconds = 0;
};

/// Of the configuration: source, target (a directory that is not there yet), scheme, bits, group, asymmetric,
/// calibration, context, include, exclude, threads. Refuses the rest.
Result<GroupsResult> quantize_groups(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
