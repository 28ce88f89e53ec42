// SPDX-License-Identifier: Apache-2.0
// Architectures: how a file's metadata becomes a ModelConfig. One small file and one row of architectures.inc each.
#pragma once

#include <span>
#include <string_view>

#include "vibee/model/layer/config.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {

struct Architecture {
  std::string_view id;  ///< `general.architecture`
  Status (*configure)(const Checkpoint&, ModelConfig*);
};
std::span<const Architecture> architectures();

/// Opens what a user names: a GGUF file.
Result<Checkpoint> open_checkpoint(const std::string& path);

/// The configuration of a file, checked against the shapes of its tensors before anything is allocated. Errors name
/// file and key.
Result<ModelConfig> read_config(const Checkpoint& file);

#define VIBEE_ARCHITECTURE(id) Status configure_##id(const Checkpoint&, ModelConfig*);
#include "vibee/model/arch/architectures.inc"
#undef VIBEE_ARCHITECTURE

/// Metadata common to the Llama family: sizes, norm, rotary base. Keys are "<architecture>.<key>".
Status read_common(const Checkpoint& file, ModelConfig* config);

}  // namespace vibee
