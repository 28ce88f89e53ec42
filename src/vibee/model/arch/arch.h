// SPDX-License-Identifier: Apache-2.0
// Architectures: how a file's metadata becomes a ModelConfig. One small file and one row of architectures.inc each.
#pragma once

#include <span>
#include <string_view>

#include "vibee/model/layer/config.h"
#include "vibee/model/weight/checkpoint.h"
#include "vibee/model/weight/hf.h"

namespace vibee {

struct Architecture {
  std::string_view id;  ///< `general.architecture`
  Status (*configure)(const Checkpoint&, ModelConfig*);
  std::span<const HfArchitecture> (*hf)();  ///< the model_types of `transformers` that become it
};
std::span<const Architecture> architectures();
/// Those of all architectures.
std::span<const HfArchitecture* const> hf_architectures();

/// Opens what a user names: a GGUF file (also the first of several parts), or a directory with config.json and
/// safetensors. `bits`: of a directory that stores several widths, 0: its widest; refused for others.
Result<Checkpoint> open_checkpoint(const std::string& path, uint32_t bits = 0);

/// The configuration of a file, checked against the shapes of its tensors before anything is allocated. Errors name
/// file and key.
Result<ModelConfig> read_config(const Checkpoint& file);

/// What a step shall give, instead of the model's own output, and how rows are pooled, instead of as its files say.
/// Refuses what the model has no head for, and an embedding whose pooling nobody names.
Status set_output(std::string_view path, Output output, std::optional<Pooling> pooling, ModelConfig* config);

#define VIBEE_ARCHITECTURE(id)                            \
  Status configure_##id(const Checkpoint&, ModelConfig*); \
  std::span<const HfArchitecture> hf_##id();
#include "vibee/model/arch/architectures.inc"
#undef VIBEE_ARCHITECTURE

/// Metadata common to the Llama family: sizes, norm, rotary base. Keys are "<architecture>.<key>".
Status read_common(const Checkpoint& file, ModelConfig* config);

}  // namespace vibee
