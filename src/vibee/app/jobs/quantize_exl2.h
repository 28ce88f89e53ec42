// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme exl2: a directory whose linears are quantised as ExLlamaV2 does it
// (compress/quantize/exl2.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/exl2_model.h"

namespace vibee {

struct Exl2Report {
  Exl2Allocation allocation;
  uint64_t elements = 0;  ///< weights of the model
  uint64_t bytes = 0;     ///< of the weight files
  uint64_t left = 0;      ///< matrices that stay in float16
  bool head = false;      ///< one with weights of its own was quantised
};

/// Takes --budget (of the layers' linears alone) and --calib, which it needs, --head-bits, --measurement and
/// --probe-windows.
Result<SchemeResult<Exl2Report>> quantize_exl2(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
