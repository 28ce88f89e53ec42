// SPDX-License-Identifier: Apache-2.0
// Sensitivity of weights: the squared gradient of the loss by each, summed over the windows of a text (the diagonal of
// the empirical Fisher information, SqueezeLLM, Kim et al., ICML 2024, section 4.1).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "vibee/compress/quantize/calibration_run.h"

namespace vibee {

/// By tensor, in its rows' order; those of whole tensors of `wanted` names, which are of floats in the training graph.
using SquaredGradients = std::map<std::string, std::vector<float>, std::less<>>;

/// Weights are floats with the values of the file. A window is a step of its own, so what is squared is the gradient of
/// its mean loss. Refuses a text of less than kLeastWindows windows, and a model that does not fit: it holds its
/// weights, their gradients and their squares, 12 bytes a weight.
Result<SquaredGradients> squared_gradients(const Checkpoint& file, const ModelConfig& config,
                                           std::span<const int32_t> tokens, const CalibrateOptions& options,
                                           const std::function<bool(const std::string&)>& wanted);

}  // namespace vibee
