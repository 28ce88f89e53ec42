// SPDX-License-Identifier: Apache-2.0
// Checkpoints of optimum-quanto (QuantizedModelForCausalLM.save_pretrained, tensor/packed.py and tensor/qbits.py). The
// map quanto_qmap.json says the type of each module's weights; a linear is weight._scale, and
//
//   qint8, qfloat8   weight._data int8 or E4M3 [n, k], _scale [n, 1]: scale * code
//   qint4, qint2     weight._data._data u8 [ceil(G / c), g], _scale and _shift [G, 1], of the G = n k / g groups of g
//   of
//                    the rows: byte (r, i) holds element i of the groups r, r + R, ... of its R rows, c = 8 / bits of
//                    them, the lowest bits first: scale * code - shift
//
// The matrix's shape is nowhere: k is config.json's. Codes of 2 bits take 4 here. Values are those of the file exactly;
// the package itself rounds them to the type of the scales. Scales of activations are not read: rows are quantised as
// they come.
#include <algorithm>
#include <map>

#include "vibee/base/memory/checked.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kScale = ".weight._scale", kShift = ".weight._shift", kCodes = ".weight._data",
                           kPacked = ".weight._data._data";
constexpr std::string_view kParts[] = {kScale, kShift, kCodes, kPacked};
constexpr std::string_view kUnread[] = {".input_scale", ".output_scale"};

struct QuantoType {
  std::string_view name;
  uint32_t bits;
  bool floats = false;
};
constexpr QuantoType kTypes[] = {
    {"qint2", 2}, {"qint4", 4}, {"qint8", 8}, {"qfloat8_e4m3fn", 8, true}, {"qfloat8", 8, true}};

class QuantoLayout final : public QuantizedLayout {
 public:
  using Map = std::map<std::string, QuantoType, std::less<>>;
  QuantoLayout(Map modules, LinearInputs inputs) : modules_(std::move(modules)), inputs_(std::move(inputs)) {}
  std::string_view key() const override { return kScale; }
  std::span<const std::string_view> parts() const override { return kParts; }
  std::span<const std::string_view> unread() const override { return kUnread; }

  Status check(const SafetensorsSet& files) const override {
    for (const auto& [name, type] : modules_)
      if (!files.tensors().contains(name + std::string(kScale)) && !files.tensors().contains(name + ".weight"))
        return error(Code::corrupt, "{} names the module {}, of which the model has no weight", kQuantoMap,
                     quote(name));
    return {};
  }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    const auto at = modules_.find(parts.name());
    if (at == modules_.end())
      return parts.bad(kScale, fmt::format("is of a module whose type {} does not say", kQuantoMap));
    return at->second.bits == 8 ? bytes(parts, at->second) : packed(parts, at->second.bits);
  }

 private:
  static Result<QuantizedLinear> bytes(const LinearParts& parts, const QuantoType& type) {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {type.floats ? "F8_E4M3" : "I8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scale, parts.need(kScale, {"F32", "F16", "BF16"}, 2));
    const uint64_t n = codes->shape[0], k = codes->shape[1];
    if (scale->shape != std::vector<uint64_t>{n, 1}) return parts.bad(kScale, fmt::format("is not [{}, 1]", n));
    if (k % 32 != 0) return parts.bad(kCodes, fmt::format("has {} inputs; a multiple of 32 is read", k));
    QuantizedLinear out{n, k, group_format(GroupKind::i8s, k)};
    if (type.floats) out.format = k % 128 == 0 ? Format::e4m3s128 : Format::e4m3s32;
    out.unpack = [parts, n, k, format = out.format, floats = type.floats](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(kCodes));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
      for (size_t i = 0; floats && i < codes.size(); ++i)
        if ((codes[i] & 0x7f) > E4m3::kLargest)
          return parts.bad(kCodes, fmt::format("is not a number in row {}, column {}", i / k, i % k));
      write_groups(
          format, n, k, k,
          [&](uint64_t row, uint64_t at, uint8_t* code) { std::memcpy(code, codes.data() + row * k + at, 32); },
          [&](uint64_t row, uint64_t) { return scale[row]; }, [](uint64_t, uint64_t) { return 0; }, to.data());
      return {};
    };
    return out;
  }

  Result<QuantizedLinear> packed(const LinearParts& parts, uint64_t bits) const {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kPacked, {"U8"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scale, parts.need(kScale, {"F32", "F16", "BF16"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* shift, parts.need(kShift, {"F32", "F16", "BF16"}, 2));
    const uint64_t groups = scale->shape[0], group = codes->shape[1], rows = codes->shape[0], a_byte = 8 / bits;
    if (scale->shape[1] != 1) return parts.bad(kScale, fmt::format("is not [{}, 1]", groups));
    if (shift->shape != scale->shape) return parts.bad(kShift, fmt::format("is not [{}, 1]", groups));
    if (rows != groups / a_byte + (groups % a_byte != 0))
      return parts.bad(kPacked, fmt::format("has {} rows for {} groups, {} a byte", rows, groups, a_byte));
    const uint64_t k = inputs_(parts.name());
    if (k == 0) return parts.bad(kPacked, "has no shape, and config.json does not say how many inputs it has");
    const auto elements = checked_mul(groups, group);
    if (!elements || k % group != 0 || *elements % k != 0)
      return parts.bad(kPacked,
                       fmt::format("has {} groups of {}, which do not make rows of {} inputs", groups, group, k));
    if (group % 32 != 0) return parts.bad(kPacked, fmt::format("has groups of {}; a multiple of 32 is read", group));
    QuantizedLinear out{*elements / k, k, group_format(GroupKind::i4m, group)};
    out.unpack = [parts, n = out.n, k, group, rows, bits, format = out.format](std::span<uint8_t> to) -> Status {
      VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(kPacked));
      VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
      VIBEE_ASSIGN(const std::vector<float> shift, parts.floats(kShift));
      const uint64_t a_row = k / group;
      write_groups(
          format, n, k, group,
          [&](uint64_t row, uint64_t at, uint8_t* code) {
            const uint64_t g = row * a_row + at / group;
            const uint8_t* const from = codes.data() + g % rows * group + at % group;
            for (uint64_t i = 0; i < 32; ++i) code[i] = uint8_t(from[i] >> (g / rows * bits) & ((1u << bits) - 1));
          },
          [&](uint64_t row, uint64_t g) { return scale[row * a_row + g]; },
          [&](uint64_t row, uint64_t g) { return -shift[row * a_row + g]; }, to.data());
      return {};
    };
    return out;
  }

  Map modules_;
  LinearInputs inputs_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> quanto_layout(const JsonValue& map, LinearInputs inputs) {
  if (!map.is(JsonValue::Kind::object)) return error(Code::corrupt, "is {}, not modules by name", map.describe());
  QuantoLayout::Map modules;
  for (size_t i = 0; i < map.names.size(); ++i) {
    const JsonValue* weights = map.items[i].find("weights");
    if (weights == nullptr || !weights->is(JsonValue::Kind::text))
      return error(Code::corrupt, "module {}: \"weights\" is {}, not the name of a type", quote(map.names[i]),
                   weights ? weights->describe() : "missing");
    if (weights->text == "none") continue;
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const QuantoType& t) { return t.name == weights->text; });
    if (type == std::end(kTypes))
      return error(Code::unsupported, "module {}: weights of {}; qint2, qint4, qint8 and qfloat8_e4m3fn are read",
                   quote(map.names[i]), quote(weights->text, 40));
    modules.emplace(map.names[i], *type);
  }
  return std::unique_ptr<QuantizedLayout>(std::make_unique<QuantoLayout>(std::move(modules), std::move(inputs)));
}

}  // namespace vibee
