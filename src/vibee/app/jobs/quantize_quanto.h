// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme quanto:TYPE: a directory as optimum-quanto saves it (compress/quantize/quanto_model.h).
#pragma once

#include "vibee/app/jobs/quantize.h"
#include "vibee/compress/quantize/quanto_model.h"

namespace vibee {

inline constexpr std::string_view kQuantoScheme = "quanto:";

struct QuantoResult {
  std::string source;
  QuantoReport report;
  std::vector<std::string> warnings;
  double seconds = 0;
};

/// Of the configuration: source, target (a directory that is not there yet), scheme, optimizer, include, exclude,
/// threads. Refuses the rest.
Result<QuantoResult> quantize_quanto(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
