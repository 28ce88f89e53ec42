// SPDX-License-Identifier: Apache-2.0
// A model as a directory whose linears are quantised one by one into another project's tensors, all else staying floats
// (quanto_model.h, torchao_model.h).
#pragma once

#include "vibee/base/thread/team.h"
#include "vibee/compress/quantize/module_patterns.h"
#include "vibee/model/weight/hf_linears.h"

namespace vibee {

struct LinearReport {
  uint64_t matrices = 0, elements = 0, bytes = 0;  ///< that are quantised; with their scales and shifts
  uint64_t floats = 0;                             ///< bytes of what stays so
  uint64_t left = 0;         ///< linears that patterns leave as floats, or that the directory holds transposed
  uint64_t indivisible = 0;  ///< linears that stay floats: groups do not divide their rows
  double bits_per_weight() const { return elements ? 8.0 * double(bytes) / double(elements) : 0; }
};

struct LinearOptions {
  ModulePatterns modules = {};
  Team* team = nullptr;
  WriteProgress progress = nullptr;
};

/// How linears become parts. `t` is a tensor in the floats that it stays in otherwise.
struct LinearScheme {
  std::string name;                         ///< what holds no numbers that are not finite, in messages
  uint64_t unit;                            ///< that rows are a multiple of
  std::string key = "quantization_config";  ///< as in HfLinears
  std::string file = {};
  std::function<bool(const TensorInfo& t)> is_linear;
  std::function<std::string(const HfModules& modules)> config;
  std::function<std::vector<HfPart>(const TensorInfo& t)> parts;
  /// The bytes of each part, of a matrix w [n, k] in the directory's order of rows.
  std::function<std::vector<std::vector<uint8_t>>(const TensorInfo& t, std::span<const float> w)> make;
  std::function<std::vector<std::pair<std::string, std::string>>(std::span<const HfNamed>)> header = nullptr;
};

/// Writes `file` to a directory that is not there yet. Tensors in blocks that are not quantised become f16.
Result<LinearReport> write_linears(const Checkpoint& file, std::span<const TokenizerFile> tokenizer,
                                   const std::string& directory, const LinearScheme& scheme,
                                   const LinearOptions& options);

/// How safetensors call a format of floats.
std::string_view safetensors_dtype(Format format);
/// Values in such a format.
std::vector<uint8_t> encoded_floats(Format format, std::span<const float> values);

}  // namespace vibee
