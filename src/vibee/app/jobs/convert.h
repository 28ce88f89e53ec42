// SPDX-License-Identifier: Apache-2.0
// Writes a model in another container or number format. The result appears whole or not at all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

struct ConvertConfig {
  std::string source;              ///< a path, or a name in the cache
  std::string target;              ///< a file for gguf; a directory that is not there yet for hf
  std::string to = "gguf";         ///< gguf or hf
  std::string format = "keep";     ///< of matrices: keep, or a format that can be written
  uint32_t threads = 0;            ///< 0: one a core
  std::vector<std::string> loras;  ///< adapters that are added to the weights: PATH[:SCALE]
};

struct ConvertReport {
  std::string source;
  uint64_t tensors = 0, bytes = 0;  ///< written, without headers
  uint64_t indivisible = 0;  ///< matrices in another format because the blocks of the one do not divide their rows
  bool tokenizer = false;    ///< the result carries one that this build reads
  std::vector<std::string> warnings;  ///< what the container has no words for
  double seconds = 0;
};

/// Puts the tokenizer.* keys of a directory that has a tokenizer.json, and no keys that we left there, into `metadata`.
/// Whether the result carries a tokenizer; what GGUF has no words for is a warning.
Result<bool> carry_tokenizer(const Checkpoint& file, GgufMetadata* metadata, std::vector<std::string>* warnings);

/// The tokenizer files that a directory made of a GGUF file gets; of a directory none, its own are copied. One that
/// they cannot say is a warning: the weights are still of use. `tokenizer` (or null): whether the result carries one.
Result<std::vector<TokenizerFile>> carry_to_hf(const Checkpoint& file, bool* tokenizer,
                                               std::vector<std::string>* warnings);

Result<ConvertReport> convert(const ConvertConfig& config, const WriteProgress& progress);

}  // namespace vibee
