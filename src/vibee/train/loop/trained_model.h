// SPDX-License-Identifier: Apache-2.0
// What a step trains as a file: a model, or an adapter.
#pragma once

#include "vibee/model/weight/gguf_write.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

/// Writes `file`, the model that training began with, in float32 and with the weights that `step` has now; `metadata`
/// is what the file says. Tensors that a step does not read are copied.
Status write_trained(const std::string& path, const Checkpoint& file, GgufMetadata metadata, const TrainStep& step);

/// Writes the adapter that `step` trains, of a model of this architecture, as adapter/adapter_file.h reads it: in GGUF,
/// as llama.cpp does.
Status write_adapter(const std::string& path, const std::string& architecture, const TrainStep& step);

}  // namespace vibee
