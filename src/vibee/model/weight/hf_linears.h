// SPDX-License-Identifier: Apache-2.0
// Directories whose linears are in another project's tensors (quantized.h reads them): written as write_hf does it, but
// for these.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/model/weight/hf.h"

namespace vibee {

/// A tensor of those that a linear is written as.
struct HfPart {
  std::string suffix, dtype;
  std::vector<uint64_t> shape;  ///< row-major
  uint64_t bytes;
};

/// Linears that are written in tensors NAME.SUFFIX instead of NAME.weight.
struct HfLinears {
  std::string key = "quantization_config";  ///< of config.json; empty: `file` instead
  std::string file = {};                    ///< a name in the directory
  /// Its value or text, a JSON object, by the modules that are written so.
  std::function<Result<std::string>(std::span<const std::string> modules)> config;
  /// Empty: the tensor is written as it is, as experts and matrices that the directory holds transposed are.
  std::function<std::vector<HfPart>(const TensorInfo&)> parts;
  /// The bytes of those parts; row r of the directory's matrix is row row_of(r) of the tensor.
  std::function<Result<std::vector<std::vector<uint8_t>>>(const TensorInfo&,
                                                          const std::function<uint64_t(uint64_t)>& row_of)>
      make;
  /// Which modules are written so, of those whose tensors have parts; null: all.
  std::function<bool(std::string_view module)> takes = nullptr;
};

/// write_hf (hf.h). `tensors` and `read` are of everything; of what has parts, its bytes are not read.
Status write_hf_linears(const std::string& directory, std::span<const HfArchitecture* const> known,
                        const Checkpoint& file, std::span<const TensorInfo> tensors, const TensorBytes& read,
                        const HfLinears& linears, std::span<const TokenizerFile> tokenizer = {},
                        const WriteProgress& progress = nullptr);

}  // namespace vibee
