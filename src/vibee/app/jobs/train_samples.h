// SPDX-License-Identifier: Apache-2.0
// Texts of a model that is being trained, by what `vibee run` runs it with.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct SampleSettings {
  std::vector<std::string> prompts = {""};  ///< an empty one begins as a document does
  uint32_t tokens = 64;
  double temperature = 0.8;
  bool chat = false;  ///< a prompt is what a user says, through the model's template
  uint64_t seed = 0;  ///< the same draws whenever it is asked
  uint32_t threads = 0, lora_rank = 0;
};

/// One text a prompt, of the model `model`, with the adapter `adapter` where it is not empty.
Result<std::vector<std::string>> sample_texts(const std::string& model, const std::string& adapter,
                                              const SampleSettings& settings);

}  // namespace vibee
