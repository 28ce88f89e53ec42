// SPDX-License-Identifier: Apache-2.0
// Adapters in GGUF: TENSOR.lora_a [k, rank] and TENSOR.lora_b [rank, n] in ggml's order of sizes, rows as the model's
// file has them; adapter.lora.alpha over the rank is the scale, 0 stands for 1 (llama.cpp, src/llama-adapter.cpp).
#include "vibee/base/text/quote.h"
#include "vibee/model/adapter/adapter_parts.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

constexpr std::string_view kA = ".lora_a", kB = ".lora_b";

AdapterPart part_of(const Checkpoint& file, const TensorInfo& t) {
  AdapterPart part{t.name, t.format, t.rows(), t.row_length(), 0, {}};
  part.read = [&file, &t](uint64_t offset, std::span<uint8_t> out) { return file.read(t, offset, out); };
  return part;
}

}  // namespace

Result<AdapterFile> read_gguf_adapter(const std::string& path, const ModelConfig& base, AdapterBuilder builder) {
  VIBEE_ASSIGN(const Checkpoint file, open_gguf(path));
  const std::string where = quote(path, 400);
  VIBEE_ASSIGN(const std::string type, file.get_string_or("general.type", "model"));
  if (type != "adapter")
    return error(Code::invalid, "{}: general.type is {}, not adapter: name a file of an adapter", where, quote(type));
  VIBEE_ASSIGN(const std::string kind, file.get_string("adapter.type"));
  if (kind != "lora") return error(Code::unsupported, "{}: adapter.type {} is not built; lora is", where, quote(kind));
  VIBEE_ASSIGN(const std::string architecture, file.get_string("general.architecture"));
  if (architecture != base.architecture)
    return error(Code::invalid, "{}: is an adapter of {}, the model is {}", where, quote(architecture),
                 quote(base.architecture));
  if (file.has("adapter.alora.invocation_tokens"))
    return error(Code::unsupported, "{}: adapter.alora.invocation_tokens: adapters that begin at a token are not built",
                 where);
  VIBEE_ASSIGN(const double alpha, file.get_f64("adapter.lora.alpha"));
  for (const TensorInfo& t : file.tensors()) {
    if (t.name.ends_with(kB) && file.find(t.name.substr(0, t.name.size() - kB.size()) + std::string(kA))) continue;
    const std::string tensor = t.name.substr(0, t.name.size() - std::min(t.name.size(), kA.size()));
    if (!t.name.ends_with(kA) || !builder.has(tensor))
      return error(Code::unsupported, "{}: tensor {} adapts nothing that adapters can change here: products of layers",
                   where, quote(t.name));
    const TensorInfo* b = file.find(tensor + std::string(kB));
    if (b == nullptr) return error(Code::corrupt, "{}: tensor {} has no {}", where, quote(t.name), kB);
    if (t.shape.size() != 2 || b->shape.size() != 2)
      return error(Code::corrupt, "{}: tensor {}: A and B must be matrices", where, quote(t.name));
    const float scale = alpha != 0 ? float(alpha / double(t.rows())) : 1.0f;
    VIBEE_TRY(builder.add(tensor, tensor, part_of(file, t), part_of(file, *b), scale));
  }
  return builder.finish();
}

}  // namespace vibee
