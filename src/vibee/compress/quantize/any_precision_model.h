// SPDX-License-Identifier: Apache-2.0
// A model as a directory of nested codes (any_precision.h) in the layout of Any-Precision LLM, which
// model/weight/quantized_any_precision.cc reads at any of its widths.
#pragma once

#include <string>

#include "vibee/base/thread/team.h"
#include "vibee/compress/quantize/any_precision.h"
#include "vibee/compress/quantize/fisher.h"
#include "vibee/model/weight/hf.h"

namespace vibee {

struct AnyPrecisionOptions {
  NestedWidths widths;
  bool affine = false;                          ///< a scale and an offset a group of 64 in the place of tables
  const SquaredGradients* gradients = nullptr;  ///< of the matrices; null: weights count alike
  Team* team = nullptr;                         ///< of which every thread takes rows
  WriteProgress progress = nullptr;
};

struct AnyPrecisionReport {
  uint64_t matrices = 0, elements = 0;  ///< that are stored in planes
  uint64_t planes = 0, tables = 0;      ///< bytes of them, all widths
  uint64_t indivisible = 0;             ///< matrices that stay floats because of the length of their rows
  uint64_t floats = 0;                  ///< bytes of what stays so: embeddings, head, norms
  bool weighted = false;                ///< by gradients
  double bits_per_weight() const { return elements ? 8.0 * double(planes + tables) / double(elements) : 0; }
};

/// Whether a tensor is a matrix of a layer that is stored in planes: of those that rows of `k` allow.
bool is_nested(const TensorInfo& tensor, bool affine);

/// Writes `file` to a directory that is not there yet; tensors that are not nested become f16 where they are in blocks.
Result<AnyPrecisionReport> write_any_precision(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                               const std::string& directory, const AnyPrecisionOptions& options);

}  // namespace vibee
