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
  std::vector<std::string> loras;  ///< adapters that are added to the weights: PATH[:SCALE]
};

struct ConvertReport {
  std::string source;
  uint64_t tensors = 0, bytes = 0;  ///< written, without headers
  uint64_t indivisible = 0;  ///< matrices written as float16 because the format's blocks do not divide their rows
  bool tokenizer = false;    ///< the result carries one that this build reads
  std::vector<std::string> warnings;  ///< what the container has no words for
  double seconds = 0;
};

Result<ConvertReport> convert(const ConvertConfig& config, const WriteProgress& progress);

}  // namespace vibee
