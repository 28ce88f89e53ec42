// SPDX-License-Identifier: Apache-2.0
// Checkpoints of torchao as transformers writes them (torchao/prototype/safetensors): a weight that is a tensor
// subclass lies as its parts, MODULE._weight_qdata, MODULE._weight_scale, ..., and the header says under
// "MODULE.weight" its class (_type) and attributes (_data) as a JSON text of its own. Blocks are what a scale's shape
// makes of [n, k]:
//
//   Int8Tensor, IntxUnpackedToInt8Tensor   qdata int8 [n, k] of 8, and of 1 to 8 bits, zero_point int8, of the same
//                  blocks as scale: scale * (code - zero)
//   Int4Tensor     qdata [n, k / 2], two's complement of 4 bits, the first of two low; scale, zero_point [k / g, n]:
//                  scale * code + zero
//   Float8Tensor   qdata E4M3 [n, k]: scale * code
//   MXTensor       qdata E4M3 [n, k], or E2M1 [n, k / 2], the first of two low, and a scale E8M0 of 32 inputs
//                  [n, k / 32], or in the tiles of 128 x 4 that cuBLAS takes
//
// Values are dequantize()'s in float32; the package rounds them to the model's type. With offsets they are computed as
// scale * u + (zero - 8 scale) and scale * code + (-scale * zero): the same where scales are halves or bfloat16, whose
// products are exact (and sums, unless they span more than 24 bits); of scales in float32 each product and each sum is
// rounded, at most 2^-24 of it. What is said of activations is not read: rows are quantised as they come.
#include <algorithm>

#include "vibee/base/text/quote.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kCodes = "._weight_qdata", kScale = "._weight_scale", kZero = "._weight_zero_point",
                           kBefore = "._weight_act_pre_scale", kMatrix = "._weight_per_tensor_scale";
constexpr std::string_view kParts[] = {
    kCodes, kScale, kZero, kMatrix, "._weight_act_quant_scale", "._weight_act_quant_zero_point"};

Result<const SafetensorsTensor*> need_floats(const LinearParts& parts, std::string_view suffix) {
  return parts.need(suffix, {"F32", "BF16", "F16"}, 2);
}

/// The rows and columns that share an element of a part, and how many such blocks lie beside each other.
struct Blocks {
  uint64_t rows, columns, across;
};
Result<Blocks> blocks_of(const LinearParts& parts, uint64_t n, uint64_t k) {
  VIBEE_ASSIGN(const SafetensorsTensor* t, need_floats(parts, kScale));
  const uint64_t down = t->shape[0], across = t->shape[1];
  if (n % down != 0 || k % across != 0)
    return parts.bad(kScale, fmt::format("is [{}, {}], which makes no blocks of [{}, {}]", down, across, n, k));
  return Blocks{n / down, k / across, across};
}

Status wrong_group(const LinearParts& parts, uint64_t k, uint64_t group, uint64_t multiple) {
  return parts.bad(
      kCodes, fmt::format("has {} inputs in groups of {}; groups of a multiple of {} are read", k, group, multiple));
}

/// The name that an attribute of a type has: {"_type": "torch.dtype", "_data": "int4"}.
std::string type_of(const JsonValue& attributes, std::string_view name) {
  const JsonValue* type = attributes.find(name);
  const JsonValue* said = type == nullptr ? nullptr : type->find("_data");
  return said != nullptr && said->is(JsonValue::Kind::text) ? said->text : "";
}

/// Every one is a signed number of so many bits.
Status check_bits(const LinearParts& parts, std::string_view suffix, const std::vector<uint8_t>& bytes,
                  uint64_t columns, uint32_t bits) {
  const int half = 1 << (bits - 1);
  for (size_t i = 0; i < bytes.size(); ++i)
    if (const int v = int8_t(bytes[i]); v < -half || v >= half)
      return parts.bad(suffix, fmt::format("has {} in row {}, column {}; {} bits hold {} to {}", v, i / columns,
                                           i % columns, bits, -half, half - 1));
  return {};
}

Result<QuantizedLinear> integers(const LinearParts& parts, uint32_t bits) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"I8"}, 2));
  const uint64_t n = codes->shape[0], k = codes->shape[1];
  VIBEE_ASSIGN(const Blocks blocks, blocks_of(parts, n, k));
  if (blocks.columns % 32 != 0) return wrong_group(parts, k, blocks.columns, 32);
  std::vector<uint8_t> zero;
  if (parts.find(kZero) != nullptr) {
    VIBEE_ASSIGN(const SafetensorsTensor* t, parts.need(kZero, {"I8"}, 2));
    const std::vector<uint64_t> want = {n / blocks.rows, blocks.across};
    if (t->shape != want) return parts.bad(kZero, fmt::format("is not [{}, {}], as the scale is", want[0], want[1]));
    VIBEE_ASSIGN(zero, parts.bytes(kZero));
  }
  const bool symmetric = std::all_of(zero.begin(), zero.end(), [](uint8_t z) { return z == 0; });
  if (bits > 4 && !symmetric && blocks.columns % 64 != 0) return wrong_group(parts, k, blocks.columns, 64);
  QuantizedLinear out{n, k, group_format(bits > 4 ? GroupKind::i8s : GroupKind::i4z, blocks.columns)};
  if (bits > 4 && !symmetric) out.format = Format::i8m64;
  out.unpack = [parts, n, k, blocks, bits, format = out.format](std::span<uint8_t> to) -> Status {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(kCodes));
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
    std::vector<uint8_t> zero(scale.size());
    if (parts.find(kZero) != nullptr) {
      VIBEE_ASSIGN(zero, parts.bytes(kZero));
    }
    VIBEE_TRY(check_bits(parts, kCodes, codes, k, bits));
    VIBEE_TRY(check_bits(parts, kZero, zero, blocks.across, bits));
    const int bias = bits > 4 ? 0 : 8;  // of codes that are not signed
    const auto codes_of = [&](uint64_t row, uint64_t at, uint8_t* code) {
      for (uint64_t i = 0; i < 32; ++i) code[i] = uint8_t(codes[row * k + at + i] + bias);
    };
    const auto block = [&](uint64_t row, uint64_t g) { return row / blocks.rows * blocks.across + g; };
    const auto scale_at = [&](uint64_t row, uint64_t g) { return scale[block(row, g)]; };
    const auto zero_at = [&](uint64_t row, uint64_t g) { return int8_t(zero[block(row, g)]); };
    if (format == Format::i8m64) {
      write_groups(
          format, n, k, blocks.columns, codes_of, scale_at,
          [&](uint64_t row, uint64_t g) { return -scale_at(row, g) * float(zero_at(row, g)); }, to.data());
    } else {
      write_groups(
          format, n, k, blocks.columns, codes_of, scale_at,
          [&](uint64_t row, uint64_t g) { return zero_at(row, g) + bias; }, to.data());
    }
    return {};
  };
  return out;
}

Result<QuantizedLinear> int8(const LinearParts& parts, const JsonValue&) { return integers(parts, 8); }

Result<QuantizedLinear> intx(const LinearParts& parts, const JsonValue& attributes) {
  const std::string type = type_of(attributes, "target_dtype");
  if (type.size() != 4 || !type.starts_with("int") || type[3] < '1' || type[3] > '8')
    return parts.bad(kCodes, fmt::format("has codes of {}; int1 to int8 are read", quote(type, 40)));
  return integers(parts, uint32_t(type[3] - '0'));
}

Result<QuantizedLinear> int4(const LinearParts& parts, const JsonValue&) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"I8", "U8"}, 2));
  VIBEE_ASSIGN(const SafetensorsTensor* scale, need_floats(parts, kScale));
  VIBEE_ASSIGN(const SafetensorsTensor* zero, need_floats(parts, kZero));
  const uint64_t n = codes->shape[0], k = codes->shape[1] * 2, groups = scale->shape[0];
  if (scale->shape[1] != n || k % groups != 0)
    return parts.bad(kScale, fmt::format("is [{}, {}], not [groups, {}]", groups, scale->shape[1], n));
  if (zero->shape != scale->shape) return parts.bad(kZero, fmt::format("is not [{}, {}]", groups, n));
  const uint64_t group = k / groups;
  if (group % 32 != 0) return wrong_group(parts, k, group, 32);
  QuantizedLinear out{n, k, group_format(GroupKind::i4m, group)};
  out.unpack = [parts, n, k, group, format = out.format](std::span<uint8_t> to) -> Status {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(kCodes));
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
    VIBEE_ASSIGN(const std::vector<float> zero, parts.floats(kZero));
    write_groups(
        format, n, k, group,
        [&](uint64_t row, uint64_t at, uint8_t* code) {
          const uint8_t* const from = codes.data() + (row * k + at) / 2;
          for (uint64_t i = 0; i < 32; ++i) code[i] = uint8_t((from[i / 2] >> (4 * (i % 2)) & 15) ^ 8);  // + 8
        },
        [&](uint64_t row, uint64_t g) { return scale[g * n + row]; },
        [&](uint64_t row, uint64_t g) { return zero[g * n + row] - 8 * scale[g * n + row]; }, to.data());
    return {};
  };
  return out;
}

Result<QuantizedLinear> float8(const LinearParts& parts, const JsonValue&) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"F8_E4M3"}, 2));
  VIBEE_ASSIGN(const Blocks blocks, blocks_of(parts, codes->shape[0], codes->shape[1]));
  return fp8_linear(parts, kCodes, kScale, blocks.rows, blocks.columns);
}

/// Where the scale of block (row, g) stands among tiles of 128 rows and 4 columns, `across` of them side by side: its
/// row in four lanes of 32 (torchao/prototype/mx_formats/utils.py, to_blocked; cuBLAS, "1D block scaling factors").
uint64_t tiled(uint64_t row, uint64_t g, uint64_t across) {
  const uint64_t tile = row / 128 * across + g / 4, lane = row % 128 / 32;
  return 512 * tile + row % 32 * 16 + lane * 4 + g % 4;
}

Result<QuantizedLinear> mx(const LinearParts& parts, const JsonValue& attributes) {
  const std::string type = type_of(attributes, "elem_dtype");
  const bool four = type == "float4_e2m1fn_x2";
  if (!four && type != "float8_e4m3fn")
    return parts.bad(kCodes,
                     fmt::format("has codes of {}; float8_e4m3fn and float4_e2m1fn_x2 are read", quote(type, 40)));
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {four ? "U8" : "F8_E4M3"}, 2));
  VIBEE_ASSIGN(const SafetensorsTensor* scale, parts.need(kScale, {"F8_E8M0", "U8"}, 2));
  const JsonValue* size = attributes.find("block_size");
  if (size == nullptr || !size->is(JsonValue::Kind::integer) || size->integer != 32)
    return parts.bad(kCodes, fmt::format("has a block_size of {}; 32 is read", size ? size->describe() : "nothing"));
  const uint64_t n = codes->shape[0], k = codes->shape[1] * (four ? 2 : 1);
  if (k % 32 != 0) return wrong_group(parts, k, 32, 32);
  const JsonValue* swizzled = attributes.find("is_swizzled_scales");
  const bool tiles = swizzled != nullptr && swizzled->boolean;
  const uint64_t across = (k / 32 + 3) / 4;
  const std::vector<uint64_t> want =
      tiles ? std::vector<uint64_t>{(n + 127) / 128 * 32, across * 16} : std::vector<uint64_t>{n, k / 32};
  if (scale->shape != want) return parts.bad(kScale, fmt::format("is not [{}, {}]", want[0], want[1]));
  QuantizedLinear out{n, k, four ? Format::mxfp4 : Format::mxfp8};
  out.unpack = [parts, n, k, four, tiles, across](std::span<uint8_t> to) -> Status {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(kCodes));
    VIBEE_ASSIGN(const std::vector<uint8_t> scale, parts.bytes(kScale));
    for (size_t i = 0; !four && i < codes.size(); ++i)
      if ((codes[i] & 0x7f) > E4m3::kLargest)
        return parts.bad(kCodes, fmt::format("is not a number in row {}, column {}", i / k, i % k));
    const uint64_t bytes = four ? 16 : 32;
    const uint8_t* from = codes.data();
    uint8_t* block = to.data();
    for (uint64_t row = 0; row < n; ++row)
      for (uint64_t g = 0; g < k / 32; ++g, from += bytes, block += 1 + bytes) {
        block[0] = scale[tiles ? tiled(row, g, across) : row * (k / 32) + g];
        if (block[0] == 255) return parts.bad(kScale, fmt::format("has nan for row {}, block {}", row, g));
        if (four) {
          mxfp4_nibbles(from, block + 1);
        } else {
          std::memcpy(block + 1, from, 32);
        }
      }
    return {};
  };
  return out;
}

Result<QuantizedLinear> nvfp4(const LinearParts& parts, const JsonValue& attributes) {
  VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"U8"}, 2));
  VIBEE_ASSIGN(const SafetensorsTensor* scale, parts.need(kScale, {"F8_E4M3"}, 2));
  const uint64_t n = codes->shape[0], groups = codes->shape[1] * 2 / 16, across = (groups + 3) / 4;
  const JsonValue* swizzled = attributes.find("is_swizzled_scales");
  const bool tiles = swizzled != nullptr && swizzled->boolean;
  const std::vector<uint64_t> want =
      tiles ? std::vector<uint64_t>{(n + 127) / 128 * 32, across * 16} : std::vector<uint64_t>{n, groups};
  if (scale->shape != want) return parts.bad(kScale, fmt::format("is not [{}, {}]", want[0], want[1]));
  Nvfp4Parts at{kCodes, kScale};
  if (parts.find(kMatrix) != nullptr) at.matrix = kMatrix;
  if (tiles) at.place = [across](uint64_t row, uint64_t g) { return tiled(row, g, across); };
  return nvfp4_linear(parts, std::move(at));
}

struct Subclass {
  std::string_view name;
  Result<QuantizedLinear> (*linear)(const LinearParts& parts, const JsonValue& attributes);
};
constexpr Subclass kSubclasses[] = {{"Int8Tensor", int8}, {"IntxUnpackedToInt8Tensor", intx},
                                    {"Int4Tensor", int4}, {"Float8Tensor", float8},
                                    {"MXTensor", mx},     {"NVFP4Tensor", nvfp4}};

class TorchaoLayout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kCodes; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    const std::string* text = parts.header_says(kCodes, parts.name() + ".weight");
    if (text == nullptr)
      return parts.bad(kCodes, fmt::format("has no class: the header of its file does not say what {} is",
                                           quote(parts.name() + ".weight")));
    const auto said = parse_json(*text);
    if (!said.ok()) return parts.bad(kCodes, fmt::format("has a description: {}", said.status().message()));
    const JsonValue* type = said->find("_type");
    const JsonValue* attributes = said->find("_data");
    const Subclass* found = nullptr;
    std::string known;
    for (const Subclass& subclass : kSubclasses) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", subclass.name);
      if (type != nullptr && type->is(JsonValue::Kind::text) && type->text == subclass.name) found = &subclass;
    }
    if (found == nullptr)
      return parts.bad(kCodes,
                       fmt::format("is of the class {}; {} are read", type ? type->describe() : "missing", known));
    if (parts.find(kBefore) != nullptr)
      return parts.bad(kBefore, "scales what the weight multiplies; weights without it are read");
    return found->linear(parts, attributes != nullptr ? *attributes : JsonValue());
  }
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> torchao_layout(const JsonValue&) {
  return std::unique_ptr<QuantizedLayout>(std::make_unique<TorchaoLayout>());
}

}  // namespace vibee
