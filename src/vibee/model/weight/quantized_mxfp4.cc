// SPDX-License-Identifier: Apache-2.0
// MXFP4 as compressed-tensors packs it (mxfp4-pack-quantized): weight_packed u8 [n, k / 2], codes of E2M1, the first of
// two in the low nibble; weight_scale u8 [n, k / 32], exponents of powers of two with bias 127 (OCP Microscaling 1.0).
// GGUF's blocks hold the same values.
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".weight_packed", ".weight_scale", ".weight_shape", ".input_global_scale"};

class Mxfp4Layout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".weight_packed", {"U8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".weight_scale", {"U8"}, 2));
    const uint64_t n = codes->shape[0], k = codes->shape[1] * 2;
    if (k % 32 != 0) return parts.bad(".weight_packed", fmt::format("has {} inputs; blocks of 32 are read", k));
    const std::vector<uint64_t> want = {n, k / 32};
    if (scales->shape != want) return parts.bad(".weight_scale", fmt::format("is not [{}, {}]", n, k / 32));
    QuantizedLinear out{n, k, Format::mxfp4};
    out.unpack = [parts](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(".weight_packed"));
      VIBEE_ASSIGN(const std::vector<uint8_t> scales, parts.bytes(".weight_scale"));
      for (size_t b = 0; b < scales.size(); ++b) {
        if (scales[b] == 255) return parts.bad(".weight_scale", fmt::format("has nan at element {}", b));
        to[17 * b] = scales[b];
        mxfp4_nibbles(codes.data() + 16 * b, to.data() + 17 * b + 1);
      }
      return {};
    };
    return out;
  }
};

}  // namespace

void mxfp4_nibbles(const uint8_t* pairs, uint8_t* out) {
  const auto code = [&](size_t i) { return pairs[i / 2] >> (4 * (i % 2)) & 15; };
  for (size_t j = 0; j < 16; ++j) out[j] = uint8_t(code(j) | code(j + 16) << 4);
}

std::unique_ptr<QuantizedLayout> mxfp4_layout() { return std::make_unique<Mxfp4Layout>(); }

}  // namespace vibee
