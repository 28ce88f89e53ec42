// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/trained_model.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "vibee/model/layer/decoder.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

/// A weight that is a tensor's floats from a byte on.
struct Part {
  uint64_t begin;
  const TrainStep::Weight* weight;
};
/// Tensors by name, of one part or several.
using Parts = std::map<std::string, std::vector<Part>, std::less<>>;

/// In blocks, whose floats are those that the optimiser moves, in whatever form they lie.
void copy(const TrainStep& step, const std::vector<Part>& parts, uint64_t offset, std::span<uint8_t> out) {
  std::vector<float> block(kUpdateBlock);
  for (const Part& part : parts) {
    uint64_t begin = std::max(part.begin, offset);
    const uint64_t end = std::min(part.begin + 4 * part.weight->count, offset + out.size());
    while (begin < end) {
      const uint64_t first = (begin - part.begin) / 4, skipped = (begin - part.begin) % 4;
      const uint64_t n = std::min(kUpdateBlock, part.weight->count - first);
      step.read(*part.weight, first, {block.data(), n});
      const uint64_t bytes = std::min(4 * n - skipped, end - begin);
      std::memcpy(out.data() + (begin - offset), reinterpret_cast<const uint8_t*>(block.data()) + skipped, bytes);
      begin += bytes;
    }
  }
}

}  // namespace

Status write_trained(const std::string& path, const Checkpoint& file, GgufMetadata metadata, const TrainStep& step) {
  Parts parts;
  for (const TrainStep::Weight& w : step.weights()) {
    if (!w.trained) continue;
    const WeightPart part = weight_part(w.name);
    VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
    // Rows of a vector are its elements.
    const uint64_t row = tensor->shape.size() > 1 ? tensor->row_length() : 1;
    parts[part.tensor].push_back({4 * uint64_t(part.first) * row, &w});
  }
  std::vector<TensorInfo> tensors(file.tensors().begin(), file.tensors().end());
  for (TensorInfo& tensor : tensors) {
    if (!parts.contains(tensor.name)) continue;
    tensor.format = Format::f32;
    tensor.bytes = 4 * tensor.elements();
  }
  set_file_type(&metadata, tensors);
  return write_gguf(path, metadata, tensors,
                    [&](const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) -> Status {
                      const auto found = parts.find(tensor.name);
                      if (found == parts.end()) {
                        VIBEE_ASSIGN(const TensorInfo* own, file.tensor(tensor.name));
                        return file.read(*own, offset, out);
                      }
                      copy(step, found->second, offset, out);
                      return {};
                    });
}

Status write_adapter(const std::string& path, const std::string& architecture, const TrainStep& step) {
  constexpr std::string_view kEnd = ".lora_a";
  Parts parts;
  std::vector<TensorInfo> tensors;
  for (const TrainStep::Weight& w : step.weights()) {
    if (!w.trained) continue;
    const std::string_view name = w.name, end = name.substr(name.size() - kEnd.size());
    const WeightPart part = weight_part(name.substr(0, name.size() - end.size()));
    const uint64_t row = w.count / w.rows;
    const std::string tensor = part.tensor + std::string(end);
    std::vector<Part>& known = parts[tensor];
    if (known.empty()) tensors.push_back({tensor, Format::f32, {row, 0}, 0, 0});
    known.push_back({4 * uint64_t(part.first) * row, &w});
    // The graph may read the parts of a tensor in another order than they lie.
    const auto info = std::find_if(tensors.begin(), tensors.end(), [&](auto& t) { return t.name == tensor; });
    info->shape[1] = std::max(info->shape[1], uint64_t(part.first) + w.rows);
    info->bytes = 4 * info->elements();
  }
  const GgufMetadata metadata = {{"general.type", gguf_text("adapter")},
                                 {"general.architecture", gguf_text(architecture)},
                                 {"adapter.type", gguf_text("lora")},
                                 {"adapter.lora.alpha", gguf_f32(float(step.lora().alpha))}};
  return write_gguf(path, metadata, tensors,
                    [&](const TensorInfo& tensor, uint64_t offset, std::span<uint8_t> out) -> Status {
                      copy(step, parts.at(tensor.name), offset, out);
                      return {};
                    });
}

}  // namespace vibee
