// SPDX-License-Identifier: Apache-2.0
// Names of tensors against the patterns of the tables, and which architecture knows most of a model's.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/weight/hf.h"

namespace vibee {

/// Numbers in place of "{}" and "{e}".
struct HfMatch {
  uint32_t layer = 0, expert = 0;
};
bool hf_matches(std::string_view pattern, std::string_view name, HfMatch* match);
/// The rule of a directory's tensor, whose name may lack the architecture's prefix; nullptr when there is none.
const HfTensorRule* hf_rule_of(std::span<const HfTensorRule> rules, const HfArchitecture& hf, std::string_view name,
                               HfMatch* match);

/// How many columns the matrix of a rule has by the keys of GGUF, 0 where they do not say.
uint64_t hf_inputs_of(const HfTensorRule& rule, const HfArchitecture& hf, const GgufMetadata& metadata);

/// For a model that is not built: the architecture that knows the most of its tensors, by their names in a directory or
/// in GGUF (`gguf`), and among equals the one whose model_type is spelled most like `type`; and what it does not know.
/// "; the nearest is "llama", where tensors of these kinds are missing: "blk.{}.ssm_in.weight", ...".
std::string hf_nearest(std::span<const HfArchitecture* const> known, std::span<const std::string> names, bool gguf,
                       std::string_view type);

}  // namespace vibee
