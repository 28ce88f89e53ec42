// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/trained_model.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "vibee/model/layer/decoder.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

Status write_trained(const std::string& path, const Checkpoint& file, GgufMetadata metadata, const TrainStep& step) {
  struct Part {
    uint64_t begin;  // bytes of the tensor
    std::span<const float> values;
  };
  std::map<std::string, std::vector<Part>, std::less<>> parts;
  for (const TrainStep::Weight& w : step.weights()) {
    const WeightPart part = weight_part(w.name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    // Rows of a vector are its elements.
    const uint64_t row = tensor->shape.size() > 1 ? tensor->row_length() : 1;
    parts[part.tensor].push_back({4 * uint64_t(part.first) * row, step.values(w)});
  }
  std::vector<TensorInfo> tensors(file.tensors().begin(), file.tensors().end());
  for (TensorInfo& tensor : tensors) {
    if (!parts.contains(tensor.name)) continue;
    tensor.format = Format::f32;
    tensor.bytes = 4 * tensor.elements();
  }
  set_file_type(&metadata, tensors);
  return write_gguf(
      path, metadata, tensors, [&](const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) -> Status {
        const auto found = parts.find(tensor.name);
        if (found == parts.end()) {
          VIBEE_ASSIGN(const TensorInfo* own, file.tensor(tensor.name));
          return file.read(*own, offset, out);
        }
        for (const Part& part : found->second) {
          const uint64_t begin = std::max(part.begin, offset);
          const uint64_t end = std::min(part.begin + part.values.size_bytes(), offset + out.size());
          if (begin >= end) continue;
          std::memcpy(out.data() + (begin - offset),
                      reinterpret_cast<const uint8_t*>(part.values.data()) + (begin - part.begin), end - begin);
        }
        return {};
      });
}

}  // namespace vibee
