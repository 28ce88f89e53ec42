// SPDX-License-Identifier: Apache-2.0
// Checkpoints of GPTQ (Frantar et al. 2022, arXiv:2210.17323) as AutoGPTQ and GPTQModel write them: qweight int32
// [k / 8, n], eight codes of a column a word, the lowest first; qzeros int32 [groups, n / 8], along n; scales
// [groups, n]; g_idx int32 [k], the group of each k. A value is scale * (code - zero), where version 1 of the format
// stores zero - 1.
#include <algorithm>

#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".qweight", ".qzeros", ".scales", ".g_idx"};

class GptqLayout final : public QuantizedLayout {
 public:
  GptqLayout(uint64_t group, uint32_t zero_offset) : group_(group), zero_offset_(zero_offset) {}
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".qweight", {"I32"}, 2));
    const uint64_t k = codes->shape[0] * 8, n = codes->shape[1];
    VIBEE_ASSIGN(const uint64_t group, check_four_bit_groups(parts, n, k, group_));
    VIBEE_TRY(check_order(parts, k, group));
    QuantizedLinear out{n, k, group_format(GroupKind::i4z, group), {}};
    out.unpack = [parts, out, group, offset = zero_offset_](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint32_t> words, parts.words(".qweight"));
      VIBEE_ASSIGN(const std::vector<uint32_t> packed, parts.words(".qzeros"));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".scales"));
      const uint64_t n = out.n;
      write_groups(
          out.format, n, out.k, group,
          [&](uint64_t row, uint64_t at, uint8_t* code) {
            for (uint64_t w = 0; w < 4; ++w) {
              const uint32_t word = words[(at / 8 + w) * n + row];
              for (uint64_t i = 0; i < 8; ++i) code[8 * w + i] = word >> (4 * i) & 15;
            }
          },
          [&](uint64_t row, uint64_t g) { return scale[g * n + row]; },
          [&](uint64_t row, uint64_t g) { return ((packed[(g * n + row) / 8] >> (4 * (row % 8)) & 15) + offset) & 15; },
          to.data());
      return {};
    };
    return out;
  }

 private:
  /// Groups of inputs in their order; those sorted by importance (desc_act) would need the inputs to be gathered.
  static Status check_order(const LinearParts& parts, uint64_t k, uint64_t group) {
    if (parts.find(".g_idx") == nullptr) return {};
    VIBEE_ASSIGN(const SafetensorsTensor* order, parts.need(".g_idx", {"I32"}, 1));
    if (order->shape[0] != k) return parts.bad(".g_idx", fmt::format("has {} elements of {}", order->shape[0], k));
    VIBEE_ASSIGN(const std::vector<uint32_t> groups, parts.words(".g_idx"));
    for (uint64_t i = 0; i < k; ++i)
      if (groups[i] != i / group)
        return error(Code::unsupported,
                     "tensor {}.g_idx: input {} is in group {} and not {}; inputs sorted by importance (desc_act) are "
                     "not built",
                     parts.name(), i, groups[i], i / group);
    return {};
  }
  uint64_t group_;
  uint32_t zero_offset_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> gptq_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const uint64_t group, four_bit_group(config, "gptq"));
  const JsonValue* version = config.find("checkpoint_format");
  const std::string text = version != nullptr && version->is(JsonValue::Kind::text) ? version->text : "gptq";
  if (text != "gptq" && text != "gptq_v2")
    return error(Code::unsupported, "quantization_config: checkpoint_format {}; gptq and gptq_v2 are read",
                 version->describe());
  return std::unique_ptr<QuantizedLayout>(std::make_unique<GptqLayout>(group, text == "gptq" ? 1 : 0));
}

}  // namespace vibee
