// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme any: one directory of every width (compress/quantize/any_precision.h).
#pragma once

#include "vibee/app/jobs/quantize.h"
#include "vibee/compress/quantize/any_precision_model.h"

namespace vibee {

struct AnyPrecisionResult {
  std::string source;
  AnyPrecisionReport report;
  bool weighted = false;  ///< by gradients
  std::vector<std::string> warnings;
  double seconds = 0;
};

/// Of the configuration: source, target (a directory that is not there yet), seed_bits, parent_bits, table,
/// calibration, context, threads. Refuses the rest.
Result<AnyPrecisionResult> quantize_any(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
