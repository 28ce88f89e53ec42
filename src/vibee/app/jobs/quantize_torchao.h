// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme torchao:RECIPE: a directory as transformers saves it with torchao
// (compress/quantize/torchao_model.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/torchao_model.h"

namespace vibee {

inline constexpr std::string_view kTorchaoScheme = "torchao:";

/// Takes --include and --exclude, and of intx --bits (4), --group (32) and --asymmetric.
Result<SchemeResult<LinearReport>> quantize_torchao(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
