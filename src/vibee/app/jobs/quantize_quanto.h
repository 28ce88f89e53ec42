// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme quanto:TYPE: a directory as optimum-quanto saves it (compress/quantize/quanto_model.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/quanto_model.h"

namespace vibee {

inline constexpr std::string_view kQuantoScheme = "quanto:";

/// Takes --optimizer (hqq: shifts are searched), --include and --exclude.
Result<SchemeResult<LinearReport>> quantize_quanto(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
