// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme gptq, awq, compressed-tensors or bitsandbytes:TYPE: a directory in that layout
// (compress/quantize/group_model.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/group_model.h"

namespace vibee {

/// Takes --include and --exclude, and of layouts whose codes are integers --bits, --group, --asymmetric, --calib and
/// --solver.
Result<SchemeResult<GroupReport>> quantize_groups(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
