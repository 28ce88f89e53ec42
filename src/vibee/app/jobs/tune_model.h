// SPDX-License-Identifier: Apache-2.0
// `vibee tune` of a model on this machine: speed by processes of `vibee bench`, quality against the plain run over
// texts that the plain run wrote, where KL divergence is the exact distance of what the two would write.
#pragma once

#include "vibee/app/jobs/tune.h"

namespace vibee {

/// `base`: the plain run. `text`: what quality is measured over, instead of the model's own.
Result<TuneReport> tune_model(const LoadConfig& base, const TuneConfig& config, const std::string& text,
                              const std::function<bool(std::string_view what, double fraction)>& progress);

}  // namespace vibee
