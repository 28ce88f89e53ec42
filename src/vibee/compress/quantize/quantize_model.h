// SPDX-License-Identifier: Apache-2.0
// A model in the formats of a recipe: tensor by tensor through Recast, on all threads, into a GGUF file that appears
// whole. A run that was stopped goes on where it was.
#pragma once

#include <map>
#include <string>

#include "vibee/compress/quantize/gptq_solver.h"
#include "vibee/compress/quantize/importance.h"
#include "vibee/compress/quantize/recipe.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

struct QuantizeOptions {
  const Importance* importance = nullptr;  ///< of the model's columns; it has been checked
  GptqSolver* solver = nullptr;            ///< of the model's inputs; null: formats' own encoders
  std::string inputs = {};                 ///< what the solver's inputs come from, in any words
  RecastEdit edit = {};                    ///< of the model's floats, before they are quantised
  std::string edited = {};                 ///< what the edit comes from, in any words; empty: there is none
  Team* team = nullptr;
  WriteProgress progress = nullptr;
  /// GgufWrite::finish.
  std::function<Status(const std::string& temporary, GgufMetadata* metadata)> finish = nullptr;
};

struct FormatShare {
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct QuantizeReport {
  uint64_t elements = 0;     ///< weights of the model
  uint64_t bytes = 0;        ///< of the file, all of it
  uint64_t resumed = 0;      ///< of its tensors' bytes, that a run before had written
  uint64_t indivisible = 0;  ///< matrices in another format because the recipe's does not divide their rows
  uint64_t unweighted = 0;   ///< matrices that the importance does not know
  uint64_t unsolved = 0;     ///< matrices in blocks that the solver left to their format's encoder
  std::map<Format, FormatShare> formats;
  double bits_per_weight() const { return elements ? 8.0 * double(bytes) / double(elements) : 0; }
};

/// The formats of a model's matrices.
struct FormatMix {
  std::function<Format(const TensorInfo&)> format;
  std::optional<uint32_t> file_type = {};  ///< `general.file_type`; nothing: that of most of its bytes
};
/// Those of a recipe, which has to outlive the mix, as has the model.
FormatMix recipe_mix(const Recipe& recipe, const ModelConfig& model, RecipeUse use);

/// Writes `file` to `path`; `metadata` is what it shall say, file type and version of blocks excepted.
Result<QuantizeReport> quantize_model(const Checkpoint& file, const FormatMix& mix, GgufMetadata metadata,
                                      const std::string& path, const QuantizeOptions& options);

}  // namespace vibee
