// SPDX-License-Identifier: Apache-2.0
// config.json against the tables of an architecture.
#pragma once

#include <string>
#include <vector>

#include "vibee/model/weight/hf.h"

namespace vibee {

/// The architecture of a config.json's model_type; Code::unsupported when none has it.
Result<const HfArchitecture*> find_hf_architecture(const JsonValue& config,
                                                   std::span<const HfArchitecture* const> known);

/// A table computed from config.json that GGUF stores as a tensor.
struct HfComputed {
  std::string name;
  std::vector<float> values;
};

/// Metadata with the keys of GGUF, and computed tensors.
Status read_hf_config(const JsonValue& config, const HfArchitecture& hf, GgufMetadata* metadata,
                      std::vector<HfComputed>* computed);
Status read_hf_rope(const JsonValue& config, const HfArchitecture& hf, uint64_t head_dim, GgufMetadata* metadata,
                    std::vector<HfComputed>* computed);

/// Divisors of the rotary frequencies of Llama 3.1 (transformers' rope type "llama3"): 1 for fast pairs, `factor` for
/// slow ones, between them in the middle.
std::vector<float> llama3_factors(uint64_t dims, double theta, double factor, double low, double high, double context);

/// All rows of a kind, own ones before the base's; a base's row is left out where an own one has its key.
std::vector<HfKeyRule> hf_keys(const HfArchitecture& hf);
std::vector<HfTensorRule> hf_tensors(const HfArchitecture& hf);
std::vector<HfFixedKey> hf_fixed(const HfArchitecture& hf);

}  // namespace vibee
