// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme any: one directory of every width (compress/quantize/any_precision.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/any_precision_model.h"

namespace vibee {

/// Takes --seed-bits, --parent-bits, --table and --calib, by whose gradients weights count.
Result<SchemeResult<AnyPrecisionReport>> quantize_any(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
