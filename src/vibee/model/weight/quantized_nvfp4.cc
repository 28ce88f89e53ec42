// SPDX-License-Identifier: Apache-2.0
// NVFP4 as NVIDIA's checkpoints have it: codes of E2M1 [n, k / 2], the first of two in the low nibble, a scale in E4M3
// for each sixteen of a row [n, k / 16], and one in f32 of the matrix behind all of them. compressed-tensors divides by
// that (weight_global_scale), ModelOpt multiplies (weight_scale_2, its largest weight over 6 * 448).
//
// A value is scale of the matrix * (E4M3 * E2M1), the last of which is exact: it is rounded once. Where the scale
// divides, its inverse is rounded before.
#include <cmath>

#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kCompressed[] = {".weight_packed", ".weight_scale", ".weight_global_scale",
                                            ".input_global_scale"};
constexpr std::string_view kModelOpt[] = {".weight_scale_2", ".weight", ".weight_scale", ".input_scale"};
constexpr uint64_t kSub = 16, kBlock = 64;

Status unpack(const LinearParts& parts, const Nvfp4Parts& at, uint64_t n, uint64_t k, uint8_t* to) {
  float scale = 1;
  if (!at.matrix.empty()) {
    VIBEE_ASSIGN(const std::vector<float> said, parts.floats(at.matrix));
    scale = at.divides ? 1 / said[0] : said[0];
    if (!(said[0] > 0) || !std::isfinite(scale)) return parts.bad(at.matrix, fmt::format("is {}", said[0]));
  }
  VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(at.codes));
  VIBEE_ASSIGN(const std::vector<uint8_t> scales, parts.bytes(at.scales));
  const uint8_t* from = codes.data();
  for (uint64_t row = 0; row < n; ++row) {
    std::memcpy(to, &scale, 4);
    to += 4;
    for (uint64_t block = 0; block < k; block += kBlock, to += 4 + kBlock / 2)
      for (uint64_t s = 0; s < 4; ++s, from += kSub / 2) {
        const uint64_t g = block / kSub + s;
        const uint8_t c = scales[at.place ? at.place(row, g) : row * (k / kSub) + g];
        if (c > 0x7e)
          return parts.bad(at.scales, fmt::format("has {} for row {}, inputs from {} on",
                                                  c == 0x7f || c == 0xff ? "nan" : "a negative scale", row, g * kSub));
        to[s] = c;
        const auto code = [&](uint64_t i) { return from[i / 2] >> (4 * (i % 2)) & 15; };
        for (uint64_t j = 0; j < kSub / 2; ++j) to[4 + kSub / 2 * s + j] = uint8_t(code(j) | code(j + kSub / 2) << 4);
      }
  }
  return {};
}

class Nvfp4Layout final : public QuantizedLayout {
 public:
  explicit Nvfp4Layout(bool compressed) : compressed_(compressed) {}
  std::string_view key() const override { return parts()[0]; }
  std::span<const std::string_view> parts() const override {
    return compressed_ ? std::span<const std::string_view>(kCompressed) : std::span<const std::string_view>(kModelOpt);
  }
  std::span<const std::string_view> unread() const override { return kCacheScales; }
  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    Nvfp4Parts at;
    at.codes = compressed_ ? ".weight_packed" : ".weight";
    at.scales = ".weight_scale";
    at.matrix = compressed_ ? ".weight_global_scale" : ".weight_scale_2";
    at.divides = compressed_;
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(at.codes, {"U8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(at.scales, {"F8_E4M3"}, 2));
    const std::vector<uint64_t> want = {codes->shape[0], codes->shape[1] * 2 / kSub};
    if (scales->shape != want) return parts.bad(at.scales, fmt::format("is not [{}, {}]", want[0], want[1]));
    return nvfp4_linear(parts, std::move(at));
  }

 private:
  bool compressed_;
};

}  // namespace

Result<QuantizedLinear> nvfp4_linear(const LinearParts& parts, Nvfp4Parts at) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(at.codes, {"U8"}, 2));
  const uint64_t n = codes->shape[0], k = codes->shape[1] * 2;
  if (k % kBlock != 0) return parts.bad(at.codes, fmt::format("has {} inputs; multiples of {} are read", k, kBlock));
  if (!at.matrix.empty()) {
    const SafetensorsTensor* matrix = parts.find(at.matrix);
    if (matrix == nullptr) return parts.bad(at.matrix, "is missing");
    if (matrix->dtype != "F32" || matrix->bytes != 4)
      return parts.bad(at.matrix,
                       fmt::format("is {} of {} bytes; one F32 is read there", matrix->dtype, matrix->bytes));
  }
  QuantizedLinear out{n, k, Format::nvfp4s};
  out.unpack = [parts, at = std::move(at), n, k](std::span<uint8_t> to) { return unpack(parts, at, n, k, to.data()); };
  return out;
}

std::unique_ptr<QuantizedLayout> nvfp4_layout() { return std::make_unique<Nvfp4Layout>(true); }

Result<std::unique_ptr<QuantizedLayout>> modelopt_layout(const JsonValue& config) {
  const JsonValue* algorithm = config.find("quant_algo");
  const std::string name =
      algorithm != nullptr && algorithm->is(JsonValue::Kind::text) ? algorithm->text : std::string();
  if (name == "NVFP4") return std::unique_ptr<QuantizedLayout>(std::make_unique<Nvfp4Layout>(false));
  if (name == "FP8") return fp8_rows_layout();
  return error(Code::unsupported, "quantization_config: quant_algo {} of modelopt; NVFP4 and FP8 are read",
               algorithm ? algorithm->describe() : "missing");
}

}  // namespace vibee
