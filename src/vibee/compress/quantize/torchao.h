// SPDX-License-Identifier: Apache-2.0
// v1743 torchao: TorchAO's quantisation-aware training. Its `prepare` is the key precision.qat of `vibee train`, the
// pass graph/pass/quantize_aware; its `convert` is `vibee quantize --format`, or --weights of what loads a model,
// without a text to calibrate on: then what is written has the numbers that were learnt for.
#pragma once

#include <string_view>
#include <vector>

#include "vibee/formats/packed/format.h"

namespace vibee {

/// The formats that weights are learnt for by a name of --format or --weights, the best first. Refuses what cannot be
/// written, and f32, for which nothing has to be learnt.
Result<std::vector<Format>> prepared_formats(std::string_view name);

}  // namespace vibee
