// SPDX-License-Identifier: Apache-2.0
// Importance from one run over a text: what each product reads is squared and summed by column.
#pragma once

#include "vibee/compress/quantize/calibration_run.h"
#include "vibee/compress/quantize/importance.h"

namespace vibee {

/// Refuses a text of less than kLeastWindows windows, and ids that the model does not have.
Result<Importance> calibrate(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                             const CalibrateOptions& options);

}  // namespace vibee
