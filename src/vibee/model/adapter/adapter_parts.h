// SPDX-License-Identifier: Apache-2.0
// What both readers of adapters share: the tensors that adapters may change, and the checks of a matrix.
#pragma once

#include <functional>

#include "vibee/model/adapter/adapter_file.h"

namespace vibee {

/// One half of a matrix in its container: A is [rank][k], B is [n][rank].
struct AdapterPart {
  std::string name;  ///< in the container
  Format format = Format::f32;
  uint64_t rows = 0, columns = 0;
  uint64_t head = 0;  ///< rows of a head whose rotary halves lie apart in the container; 0: rows lie as the model's
  std::function<Status(uint64_t offset, std::span<uint8_t> out)> read;  ///< of bytes from its first
};

class AdapterBuilder {
 public:
  AdapterBuilder(std::string path, std::span<const AdaptedProduct> products, uint32_t max_rank);
  const std::string& path() const { return file_.path; }
  /// Whether adapters may change the tensor.
  bool has(const std::string& tensor) const { return sizes_.contains(tensor); }
  /// Reads a matrix after its shapes were checked. `module` stands in messages.
  Status add(const std::string& tensor, std::string_view module, const AdapterPart& a, const AdapterPart& b,
             float scale);
  Result<AdapterFile> finish();

 private:
  struct Size {
    uint32_t k = 0, n = 0;
  };
  Status read(const AdapterPart& part, std::vector<float>* out) const;

  AdapterFile file_;
  std::map<std::string, Size> sizes_;
  uint32_t max_rank_;
};

Result<AdapterFile> read_gguf_adapter(const std::string& path, const ModelConfig& base, AdapterBuilder builder);
Result<AdapterFile> read_peft_adapter(const std::string& directory, const ModelConfig& base, AdapterBuilder builder);

}  // namespace vibee
