// SPDX-License-Identifier: Apache-2.0
// How a model's files say its text is to be drawn: the keys general.sampling.* of GGUF, and generation_config.json of a
// directory, which is read into these keys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vibee/model/weight/checkpoint.h"
#include "vibee/model/weight/json.h"

namespace vibee {

struct SamplingDefaults {
  std::optional<double> temperature, top_p, min_p, typical_p, repetition_penalty;  ///< temperature 0: greedy
  std::optional<uint32_t> top_k, penalty_window;
  std::vector<std::string> ignored;  ///< keys that say something which is not built

  /// Whether anything but penalties is said; what is left out is off then.
  bool says_how() const { return temperature || top_p || min_p || typical_p || top_k; }
  /// "temperature 0.6, top_p 0.9"; empty when nothing is said.
  std::string describe() const;
};

/// Values out of range are errors that name file and key.
Result<SamplingDefaults> read_sampling_defaults(const Checkpoint& file);

/// Reads DIRECTORY/generation_config.json, if there is one, into general.sampling.*, "vibee.sampling.typical_p" and
/// "vibee.eos_token_ids". Values of the wrong kind or out of range are errors that name file and field.
Status read_hf_generation(const std::string& directory, GgufMetadata* metadata);
/// Of its parsed text; errors do not name the file.
Status read_generation_config(const JsonValue& config, GgufMetadata* metadata);
/// The inverse, for a file that is no directory: the JSON of a generation_config.json.
Result<std::string> write_hf_generation(const Checkpoint& file);

}  // namespace vibee
