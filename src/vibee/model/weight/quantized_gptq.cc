// SPDX-License-Identifier: Apache-2.0
// Checkpoints of GPTQ (Frantar et al. 2022, arXiv:2210.17323) as AutoGPTQ and GPTQModel write them: qweight int32
// [k bits / 32, n], the codes of a column one behind the other from the lowest bit on, so that those of 3 bits straddle
// words; qzeros int32 [groups, n bits / 32], in the same way along n; scales [groups, n]; g_idx int32 [k], the group of
// each k. A value is scale * (code - zero), where version 1 of the format stores zero - 1. With desc_act inputs were
// quantised in the order of their importance, so a group's are anywhere: the columns are sorted by groups here.
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".qweight", ".qzeros", ".scales", ".g_idx"};

class GptqLayout final : public QuantizedLayout {
 public:
  GptqLayout(uint64_t bits, uint64_t group, uint32_t zero_offset)
      : bits_(bits), group_(group), zero_offset_(zero_offset) {}
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".qweight", {"I32"}, 2));
    const uint64_t k = codes->shape[0] * 32 / bits_, n = codes->shape[1];
    if (codes->shape[0] * 32 % bits_ != 0)
      return parts.bad(".qweight", fmt::format("has {} words for codes of {} bits", codes->shape[0], bits_));
    VIBEE_ASSIGN(const uint64_t group, check_groups(parts, n, k, group_, bits_));
    QuantizedLinear out{n, k, group_format(bits_ == 8 ? GroupKind::i8s : GroupKind::i4z, group)};
    VIBEE_ASSIGN(out.order, sorted_inputs(parts, ".g_idx", k, group));
    out.unpack = [parts, out, group, bits = bits_, offset = zero_offset_](std::span<uint8_t> to) {
      return unpack(parts, out, group, bits, offset, to);
    };
    return out;
  }

 private:
  static Status unpack(const LinearParts& parts, const QuantizedLinear& out, uint64_t group, uint64_t bits,
                       uint32_t offset, std::span<uint8_t> to) {
    VIBEE_ASSIGN(const std::vector<uint32_t> words, parts.words(".qweight"));
    VIBEE_ASSIGN(const std::vector<uint32_t> packed, parts.words(".qzeros"));
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".scales"));
    const uint64_t n = out.n, a_row = n * bits / 32;
    const uint32_t mask = (1u << bits) - 1;
    const auto zero = [&](uint64_t row, uint64_t g) {
      return (code_at(row, bits, [&](uint64_t w) { return packed[g * a_row + w]; }) + offset) & mask;
    };
    if (bits == 8)  // signed bytes have no zero point
      for (uint64_t g = 0; g < out.k / group; ++g)
        for (uint64_t row = 0; row < n; ++row)
          if (zero(row, g) != 128)
            return parts.bad(".qzeros",
                             fmt::format("has zero point {} in group {}, row {}; of 8 bits, those around 128 "
                                         "(sym) are read",
                                         zero(row, g), g, row));
    write_groups(
        out.format, n, out.k, group,
        [&](uint64_t row, uint64_t at, uint8_t* code) {
          for (uint64_t i = 0; i < 32; ++i) {
            const uint64_t input = out.order.empty() ? at + i : out.order[at + i];
            const uint32_t u = code_at(input, bits, [&](uint64_t w) { return words[w * n + row]; });
            code[i] = uint8_t(bits == 8 ? u ^ 0x80 : u);
          }
        },
        [&](uint64_t row, uint64_t g) { return scale[g * n + row]; }, zero, to.data());
    return {};
  }

  uint64_t bits_, group_;
  uint32_t zero_offset_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> gptq_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const int64_t bits, quantization_integer(config, "bits", {}));
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
    return error(Code::unsupported, "quantization_config: bits {} of gptq; 2, 3, 4 and 8 are read", bits);
  VIBEE_ASSIGN(const uint64_t group, quantization_group(config));
  const JsonValue* version = config.find("checkpoint_format");
  const std::string text = version != nullptr && version->is(JsonValue::Kind::text) ? version->text : "gptq";
  VIBEE_ASSIGN(const bool marlin, quantization_flag(config, "is_marlin_format", text == "marlin"));  // AutoGPTQ's word
  if (marlin) return marlin_layout(config);
  if (text != "gptq" && text != "gptq_v2")
    return error(Code::unsupported, "quantization_config: checkpoint_format {}; gptq, gptq_v2 and marlin are read",
                 version->describe());
  return std::unique_ptr<QuantizedLayout>(std::make_unique<GptqLayout>(uint64_t(bits), group, text == "gptq" ? 1 : 0));
}

}  // namespace vibee
