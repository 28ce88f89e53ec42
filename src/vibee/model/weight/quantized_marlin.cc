// SPDX-License-Identifier: Apache-2.0
// v1744: checkpoints of Marlin (kernels/gemm/marlin.h): B int32 [k / 16, 2 n], s f16 [groups, n]. A value is
// s * (code - 8). Codes are put back in rows when they are read; the CPU's kernels have panels of their own.
#include "vibee/kernels/gemm/marlin.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".B", ".s", ".workspace"};
class MarlinLayout final : public QuantizedLayout {
 public:
  explicit MarlinLayout(uint64_t group) : group_(group) {}
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".B", {"I32"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".s", {"F16"}, 2));
    if (codes->shape[0] > UINT64_MAX / kMarlinTile || codes->shape[1] % 128 != 0)
      return parts.bad(".B", fmt::format("is [{}, {}]; Marlin stores [inputs / 16, 2 outputs], outputs in 64s",
                                         codes->shape[0], codes->shape[1]));
    const uint64_t k = codes->shape[0] * kMarlinTile, n = codes->shape[1] / 2, group = group_ == 0 ? k : group_;
    if (k == 0 || n == 0 || k % group != 0 || group % 32 != 0)
      return parts.bad(".B", fmt::format("has {} inputs, which groups of {} do not divide", k, group));
    if (scales->shape[0] != k / group || scales->shape[1] != n)
      return parts.bad(".s",
                       fmt::format("is [{}, {}], not [{}, {}]", scales->shape[0], scales->shape[1], k / group, n));
    QuantizedLinear out{n, k, group_format(GroupKind::i4z, group)};
    out.unpack = [parts, out, group](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint32_t> words, parts.words(".B"));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".s"));
      write_groups(
          out.format, out.n, out.k, group,
          [&](uint64_t row, uint64_t at, uint8_t* code) {
            for (uint64_t i = at; i < at + 32; ++i) {
              const uint64_t tiles = row / kMarlinTile, run = i / kMarlinTile * (out.n / 64) + tiles / 4;
              const uint32_t place = kMarlinPlace[tiles % 4 * 256 + i % kMarlinTile * kMarlinTile + row % kMarlinTile];
              code[i - at] = uint8_t(words[run * (kMarlinRun / 8) + place / 8] >> (4 * (place % 8)) & 15);
            }
          },
          [&](uint64_t row, uint64_t g) { return scale[g * out.n + marlin_scale_place(row, group == out.k)]; },
          [](uint64_t, uint64_t) { return 8; }, to.data());
      return {};
    };
    return out;
  }

 private:
  uint64_t group_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> marlin_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const int64_t bits, quantization_integer(config, "bits", 4));
  if (bits != 4) return error(Code::unsupported, "quantization_config: bits {} of marlin; it has 4", bits);
  VIBEE_ASSIGN(const uint64_t group, quantization_group(config));
  return std::unique_ptr<QuantizedLayout>(std::make_unique<MarlinLayout>(group));
}

}  // namespace vibee
