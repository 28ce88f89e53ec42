// SPDX-License-Identifier: Apache-2.0
// Checkpoints in FP8: weight F8_E4M3 [n, k], and a scale that its values are multiplied by: of blocks (DeepSeek-V3's
// weight_scale_inv [ceil(n / 128), ceil(k / 128)], a factor despite its name), of rows, or of the matrix
// (weight_scale).
#include "vibee/formats/float/minifloat.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kBlocks[] = {".weight_scale_inv", ".weight", ".activation_scale", ".input_scale"};
constexpr std::string_view kRows[] = {".weight_scale", ".weight", ".input_scale", ".output_scale"};

class Fp8Layout final : public QuantizedLayout {
 public:
  /// Blocks of 0: rows, or the matrix.
  Fp8Layout(bool inverse, uint64_t rows, uint64_t columns) : inverse_(inverse), rows_(rows), columns_(columns) {}
  std::string_view key() const override { return inverse_ ? kBlocks[0] : kRows[0]; }
  std::span<const std::string_view> parts() const override {
    return inverse_ ? std::span<const std::string_view>(kBlocks) : std::span<const std::string_view>(kRows);
  }

  std::span<const std::string_view> unread() const override { return kCacheScales; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    return fp8_linear(parts, ".weight", key(), rows_, columns_);
  }

 private:
  bool inverse_;
  uint64_t rows_, columns_;
};

}  // namespace

Result<QuantizedLinear> fp8_linear(const LinearParts& parts, std::string_view codes_at, std::string_view scales_at,
                                   uint64_t rows, uint64_t columns) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(codes_at, {"F8_E4M3"}, 2));
  const uint64_t n = codes->shape[0], k = codes->shape[1];
  const SafetensorsTensor* scales = parts.find(scales_at);
  if (!scales->format || scales->bytes == 0)
    return parts.bad(scales_at, fmt::format("is {}; F32, BF16, F16 is read there", scales->dtype));
  const uint64_t count = scales->bytes / info(*scales->format).block_bytes;
  // A scale is of so many rows and columns.
  if (rows == 0) {
    columns = k;
    rows = count == 1 ? n : 1;
  }
  const uint64_t across = (k + columns - 1) / columns, down = (n + rows - 1) / rows;
  if (count != across * down)
    return parts.bad(scales_at,
                     fmt::format("has {} scales for {} x {} in blocks of {} x {}", count, n, k, rows, columns));
  if (k % 32 != 0 || (columns < k && columns % 32 != 0))
    return parts.bad(codes_at, fmt::format("has {} inputs in blocks of {}; multiples of 32 are read", k, columns));
  const bool wide = k % 128 == 0 && (columns >= k || columns % 128 == 0);
  QuantizedLinear out{n, k, wide ? Format::e4m3s128 : Format::e4m3s32, {}};
  out.unpack = [parts, out, rows, columns, across, codes_at, scales_at](std::span<uint8_t> to) -> Status {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(codes_at));
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(scales_at));
    for (size_t i = 0; i < codes.size(); ++i)
      if ((codes[i] & 0x7f) > E4m3::kLargest)
        return parts.bad(codes_at, fmt::format("is not a number in row {}, column {}", i / out.k, i % out.k));
    const uint64_t group = info(out.format).block_elems;
    write_groups(
        out.format, out.n, out.k, group,
        [&](uint64_t row, uint64_t i, uint8_t* code) { std::memcpy(code, codes.data() + row * out.k + i, 32); },
        [&](uint64_t row, uint64_t g) { return scale[row / rows * across + g * group / columns]; },
        [](uint64_t, uint64_t) { return 0; }, to.data());
    return {};
  };
  return out;
}

std::unique_ptr<QuantizedLayout> fp8_rows_layout() { return std::make_unique<Fp8Layout>(false, 0, 0); }

Result<std::unique_ptr<QuantizedLayout>> fp8_layout(const JsonValue& config) {
  const JsonValue* format = config.find("fmt");
  if (format != nullptr && !(format->is(JsonValue::Kind::text) && format->text == "e4m3"))
    return error(Code::unsupported, "quantization_config: fmt {} of fp8; e4m3 is read", format->describe());
  const JsonValue* block = config.find("weight_block_size");
  if (block == nullptr) return std::unique_ptr<QuantizedLayout>(std::make_unique<Fp8Layout>(true, 0, 0));
  const auto side = [&](size_t i) {
    const JsonValue& v = block->items[i];
    return v.is(JsonValue::Kind::integer) && v.integer > 0 && v.integer <= (1 << 20) ? uint64_t(v.integer) : 0;
  };
  if (!block->is(JsonValue::Kind::array) || block->items.size() != 2 || side(0) == 0 || side(1) == 0)
    return error(Code::invalid, "quantization_config: weight_block_size is {}, not two sizes", block->describe());
  return std::unique_ptr<QuantizedLayout>(std::make_unique<Fp8Layout>(true, side(0), side(1)));
}

}  // namespace vibee
