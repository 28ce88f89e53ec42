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

/// Modules with a matrix of their own, as the directory names them; embeddings are none.
struct HfModules {
  std::vector<std::string> written;  ///< in parts
  std::vector<std::string> left;     ///< as they are: experts and routers too
};

/// A tensor as the model has it: NAME.weight of a linear that is in parts.
struct HfNamed {
  std::string name;
  const TensorInfo* in_parts;  ///< null: it is written as it is
};

/// Whether a tensor is a matrix of a layer, which rows are multiplied by: no stack of experts and no router.
inline bool is_layer_linear(const TensorInfo& t) {
  return t.shape.size() == 2 && t.name.starts_with("blk.") && t.name.ends_with(".weight") &&
         !t.name.ends_with("ffn_gate_inp.weight");
}

/// Linears that are written in tensors NAME.SUFFIX instead of NAME.weight.
struct HfLinears {
  std::string key = "quantization_config";  ///< of config.json; empty: `file` instead
  std::string file = {};                    ///< a name in the directory
  /// Its value or text, a JSON object.
  std::function<Result<std::string>(const HfModules& modules)> config;
  /// Empty: the tensor is written as it is, as experts and matrices that the directory holds transposed are.
  std::function<std::vector<HfPart>(const TensorInfo&)> parts;
  /// The bytes of those parts; row r of the directory's matrix is row row_of(r) of the tensor.
  std::function<Result<std::vector<std::vector<uint8_t>>>(const TensorInfo&,
                                                          const std::function<uint64_t(uint64_t)>& row_of)>
      make;
  /// Which modules are written so, of those whose tensors have parts; null: all.
  std::function<bool(std::string_view module)> takes = nullptr;
  /// Keys and texts that the header of each file says beside its format, of all tensors of the directory; null: none.
  std::function<std::vector<std::pair<std::string, std::string>>(std::span<const HfNamed> all)> header = nullptr;
};

/// write_hf (hf.h). `tensors` and `read` are of everything; of what has parts, its bytes are not read.
Status write_hf_linears(const std::string& directory, std::span<const HfArchitecture* const> known,
                        const Checkpoint& file, std::span<const TensorInfo> tensors, const TensorBytes& read,
                        const HfLinears& linears, std::span<const TokenizerFile> tokenizer = {},
                        const WriteProgress& progress = nullptr);

}  // namespace vibee
