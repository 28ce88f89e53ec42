// SPDX-License-Identifier: Apache-2.0
// Checkpoints of AWQ (Lin et al., MLSys 2024, arXiv:2306.00978), version gemm: qweight int32 [k, n / 8] and qzeros
// int32 [groups, n / 8], where nibble i of word c is column 8 c + {0, 2, 4, 6, 1, 3, 5, 7}[i]; scales f16 [groups, n].
// A value is scale * (code - zero).
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".qweight", ".qzeros", ".scales"};

/// The nibble of a column.
uint32_t nibble(uint32_t word, uint64_t column) {
  constexpr uint32_t kPlace[] = {0, 4, 1, 5, 2, 6, 3, 7};
  return word >> (4 * kPlace[column % 8]) & 15;
}

class AwqLayout final : public QuantizedLayout {
 public:
  explicit AwqLayout(uint64_t group) : group_(group) {}
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".qweight", {"I32"}, 2));
    const uint64_t k = codes->shape[0], n = codes->shape[1] * 8;
    VIBEE_ASSIGN(const uint64_t group, check_groups(parts, n, k, group_, 4));
    QuantizedLinear out{n, k, group_format(GroupKind::i4z, group), {}};
    out.unpack = [parts, out, group](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint32_t> words, parts.words(".qweight"));
      VIBEE_ASSIGN(const std::vector<uint32_t> packed, parts.words(".qzeros"));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".scales"));
      const uint64_t n = out.n;
      write_groups(
          out.format, n, out.k, group,
          [&](uint64_t row, uint64_t at, uint8_t* code) {
            for (uint64_t i = 0; i < 32; ++i) code[i] = uint8_t(nibble(words[((at + i) * n + row) / 8], row));
          },
          [&](uint64_t row, uint64_t g) { return scale[g * n + row]; },
          [&](uint64_t row, uint64_t g) { return nibble(packed[(g * n + row) / 8], row); }, to.data());
      return {};
    };
    return out;
  }

 private:
  uint64_t group_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> awq_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const int64_t bits, quantization_integer(config, "bits", {}));
  if (bits != 4) return error(Code::unsupported, "quantization_config: bits {} of awq; 4 are read", bits);
  VIBEE_ASSIGN(const uint64_t group, quantization_group(config));
  const JsonValue* version = config.find("version");
  if (version != nullptr &&
      !(version->is(JsonValue::Kind::text) && (version->text == "gemm" || version->text == "GEMM")))
    return error(Code::unsupported, "quantization_config: version {} of awq; gemm is read", version->describe());
  VIBEE_ASSIGN(const bool zeros, quantization_flag(config, "zero_point", true));
  if (!zeros) return error(Code::unsupported, "quantization_config: zero_point false of awq is not read");
  return std::unique_ptr<QuantizedLayout>(std::make_unique<AwqLayout>(group));
}

}  // namespace vibee
