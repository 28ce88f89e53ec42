// SPDX-License-Identifier: Apache-2.0
// Checkpoints of bitsandbytes. 4 bits (Dettmers et al., QLoRA, 2023): weight u8 [n k / 2, 1], the first of two elements
// in the high nibble, in blocks that run over the flattened matrix; weight.absmax a block, in f32 or (nested) as codes
// of a map of 256 values with an absmax of their own a 256, and an offset; a JSON object in weight.quant_state.*. 8
// bits: weight int8 [n, k], SCB f32 [n]: a value is code * SCB / 127.
#include "vibee/base/text/quote.h"
#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kNf4State = ".weight.quant_state.bitsandbytes__nf4",
                           kFp4State = ".weight.quant_state.bitsandbytes__fp4";
constexpr std::string_view kParts4[] = {
    ".weight.absmax",          ".weight", kNf4State, kFp4State, ".weight.quant_map", ".weight.nested_absmax",
    ".weight.nested_quant_map"};
constexpr std::string_view kParts8[] = {".SCB", ".weight", ".weight_format"};

class FourBitLayout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kParts4[0]; }
  std::span<const std::string_view> parts() const override { return kParts4; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    const bool nf4 = parts.find(kNf4State) != nullptr;
    const std::string_view state_at = nf4 ? kNf4State : kFp4State;
    VIBEE_ASSIGN(const SafetensorsTensor* stated, parts.need(state_at, {"U8"}, 1));
    if (stated->bytes > 4096) return parts.bad(state_at, fmt::format("has {} bytes", stated->bytes));
    VIBEE_ASSIGN(const std::vector<uint8_t> text, parts.bytes(state_at));
    const auto state = parse_json({reinterpret_cast<const char*>(text.data()), text.size()}, {4, 64});
    if (!state.ok()) return parts.bad(state_at, state.status().message());
    const auto whole = [&](std::string_view key) -> Result<uint64_t> {
      const JsonValue* v = state->find(key);
      if (v == nullptr || !v->is(JsonValue::Kind::integer) || v->integer < 1)
        return parts.bad(state_at, fmt::format("says {} is {}", key, v ? v->describe() : "missing"));
      return uint64_t(v->integer);
    };
    VIBEE_ASSIGN(const uint64_t block, whole("blocksize"));
    const JsonValue* shape = state->find("shape");
    if (shape == nullptr || !shape->is(JsonValue::Kind::array) || shape->items.size() != 2 ||
        !shape->items[0].is(JsonValue::Kind::integer) || !shape->items[1].is(JsonValue::Kind::integer) ||
        shape->items[0].integer < 1 || shape->items[1].integer < 1 || shape->items[0].integer > (1 << 30) ||
        shape->items[1].integer > (1 << 30))
      return parts.bad(state_at, fmt::format("says shape is {}", shape ? shape->describe() : "missing"));
    const auto n = uint64_t(shape->items[0].integer), k = uint64_t(shape->items[1].integer);
    if (block % 64 != 0 || k % 64 != 0 || (block % k != 0 && k % block != 0))
      return error(
          Code::unsupported,
          "tensor {}.weight: blocks of {} over rows of {}; blocks of a multiple of 64 that divides the rows, or is "
          "a multiple of them, are read",
          quote(parts.name()), block, k);
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".weight", {"U8"}, 2));
    if (codes->bytes != n * k / 2)
      return parts.bad(".weight", fmt::format("has {} bytes for {} x {}", codes->bytes, n, k));
    const uint64_t blocks = (n * k + block - 1) / block;
    Nested nested;
    if (parts.find(".weight.nested_absmax") != nullptr) {
      VIBEE_ASSIGN(nested.block, whole("nested_blocksize"));
      const JsonValue* offset = state->find("nested_offset");
      if (offset == nullptr || !offset->is_number())
        return parts.bad(state_at, fmt::format("says nested_offset is {}", offset ? offset->describe() : "missing"));
      nested.offset = float(offset->number);
      VIBEE_ASSIGN(const SafetensorsTensor* absmax, parts.need(".weight.absmax", {"U8"}, 1));
      VIBEE_ASSIGN(const SafetensorsTensor* outer, parts.need(".weight.nested_absmax", {"F32"}, 1));
      VIBEE_ASSIGN(const SafetensorsTensor* map, parts.need(".weight.nested_quant_map", {"F32"}, 1));
      if (absmax->bytes != blocks)
        return parts.bad(".weight.absmax", fmt::format("has {} of {} blocks", absmax->bytes, blocks));
      if (outer->shape[0] != (blocks + nested.block - 1) / nested.block)
        return parts.bad(".weight.nested_absmax",
                         fmt::format("has {} elements for {} blocks in {}", outer->shape[0], blocks, nested.block));
      if (map->shape[0] != 256)
        return parts.bad(".weight.nested_quant_map", fmt::format("has {} of 256 values", map->shape[0]));
    } else {
      VIBEE_ASSIGN(const SafetensorsTensor* absmax, parts.need(".weight.absmax", {"F32", "F16", "BF16"}, 1));
      if (absmax->shape[0] != blocks)
        return parts.bad(".weight.absmax", fmt::format("has {} of {} blocks", absmax->shape[0], blocks));
    }
    VIBEE_TRY(check_map(parts, nf4));
    QuantizedLinear out{n, k, nf4 ? Format::nf4s64 : Format::fp4s64, {}};
    out.unpack = [parts, out, block, nested](std::span<uint8_t> to) { return unpack(parts, out, block, nested, to); };
    return out;
  }

 private:
  struct Nested {
    uint64_t block = 0;  ///< 0: scales are floats
    float offset = 0;
  };
  /// The codes' values are those of the format, not a table of the file's own.
  static Status check_map(const LinearParts& parts, bool nf4) {
    VIBEE_ASSIGN(const SafetensorsTensor* map, parts.need(".weight.quant_map", {"F32", "F16", "BF16"}, 1));
    if (map->shape[0] != 16) return parts.bad(".weight.quant_map", fmt::format("has {} of 16 values", map->shape[0]));
    VIBEE_ASSIGN(const std::vector<float> values, parts.floats(".weight.quant_map"));
    const float* want = nf4 ? kNf4Values : kBnbFp4Values;
    for (uint32_t i = 0; i < 16; ++i)
      if (values[i] != want[i])
        return parts.bad(
            ".weight.quant_map",
            fmt::format("says code {} is {}, not {}: tables of a file's own are not read", i, values[i], want[i]));
    return {};
  }
  static Result<std::vector<float>> scales(const LinearParts& parts, const Nested& nested) {
    if (nested.block == 0) return parts.floats(".weight.absmax");
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(".weight.absmax"));
    VIBEE_ASSIGN(const std::vector<float> outer, parts.floats(".weight.nested_absmax"));
    VIBEE_ASSIGN(const std::vector<float> map, parts.floats(".weight.nested_quant_map"));
    std::vector<float> out(codes.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const float inner = map[codes[i]] * outer[i / nested.block];
      out[i] = inner + nested.offset;
    }
    return out;
  }
  static Status unpack(const LinearParts& parts, const QuantizedLinear& out, uint64_t block, const Nested& nested,
                       std::span<uint8_t> to) {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(".weight"));
    VIBEE_ASSIGN(const std::vector<float> absmax, scales(parts, nested));
    write_groups(
        out.format, out.n, out.k, 64,
        [&](uint64_t row, uint64_t at, uint8_t* code) {
          const uint8_t* from = codes.data() + (row * out.k + at) / 2;
          for (uint64_t i = 0; i < 32; ++i) code[i] = i % 2 ? from[i / 2] & 15 : from[i / 2] >> 4;
        },
        [&](uint64_t row, uint64_t g) { return absmax[(row * out.k + 64 * g) / block]; },
        [](uint64_t, uint64_t) { return 0; }, to.data());
    return {};
  }
};

class EightBitLayout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kParts8[0]; }
  std::span<const std::string_view> parts() const override { return kParts8; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".weight", {"I8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".SCB", {"F32"}, 1));
    const uint64_t n = codes->shape[0], k = codes->shape[1];
    if (scales->shape[0] != n) return parts.bad(".SCB", fmt::format("has {} of {} rows", scales->shape[0], n));
    if (k % 32 != 0) return parts.bad(".weight", fmt::format("has {} inputs; a multiple of 32 is read", k));
    if (const SafetensorsTensor* order = parts.find(".weight_format"); order != nullptr && order->bytes == 1) {
      VIBEE_ASSIGN(const std::vector<uint8_t> format, parts.bytes(".weight_format"));
      if (format[0] != 0)
        return parts.bad(".weight_format", fmt::format("is {}: tiled layouts of GPUs are not read, 0 is", format[0]));
    }
    QuantizedLinear out{n, k, group_format(GroupKind::i8s, k), {}};
    out.unpack = [parts, out](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(".weight"));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".SCB"));
      write_groups(
          out.format, out.n, out.k, out.k,
          [&](uint64_t row, uint64_t at, uint8_t* code) { std::memcpy(code, codes.data() + row * out.k + at, 32); },
          [&](uint64_t row, uint64_t) { return scale[row] / 127.0f; }, [](uint64_t, uint64_t) { return 0; }, to.data());
      return {};
    };
    return out;
  }
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> bitsandbytes_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const bool four, quantization_flag(config, "load_in_4bit", false));
  VIBEE_ASSIGN(const bool eight, quantization_flag(config, "load_in_8bit", false));
  if (four == eight)
    return error(Code::unsupported,
                 "quantization_config: one of load_in_4bit and load_in_8bit of bitsandbytes is read");
  return four ? std::unique_ptr<QuantizedLayout>(std::make_unique<FourBitLayout>())
              : std::unique_ptr<QuantizedLayout>(std::make_unique<EightBitLayout>());
}

}  // namespace vibee
