// SPDX-License-Identifier: Apache-2.0
// Checkpoints of compressed-tensors (the vLLM project's llm-compressor): pack-quantized has weight_packed int32
// [n, ceil(k / (32 / bits))], as many whole codes a word as fit, the lowest first, each code + 2^(bits - 1), and may
// have weight_g_idx int32 [k], the group of each input; int-quantized has weight int8 [n, k]. Scales stand in
// weight_scale [n, groups], zero points, where there are any, in weight_zero_point, packed along n as the codes are
// along k. A value is scale * (code - zero).
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kPacked[] = {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape",
                                        ".weight_g_idx",  ".input_scale",  ".output_scale"};
constexpr std::string_view kBytes[] = {".weight_scale", ".weight", ".weight_zero_point", ".input_scale",
                                       ".output_scale"};

struct Scheme {
  bool packed = true;
  int64_t bits = 4;
  uint64_t group = 0;  ///< 0: a row
  bool symmetric = true;
};

class CompressedLayout final : public QuantizedLayout {
 public:
  explicit CompressedLayout(const Scheme& scheme) : s_(scheme) {}
  std::string_view key() const override { return s_.packed ? kPacked[0] : kBytes[0]; }
  std::span<const std::string_view> parts() const override {
    return s_.packed ? std::span<const std::string_view>(kPacked) : std::span<const std::string_view>(kBytes);
  }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    const std::string_view codes_at = s_.packed ? ".weight_packed" : ".weight";
    uint64_t n = 0, k = 0;
    bool padded = false;
    if (s_.packed) {
      VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".weight_packed", {"I32"}, 2));
      VIBEE_ASSIGN(const SafetensorsTensor* shape, parts.need(".weight_shape", {"I64"}, 1));
      if (shape->shape[0] != 2) return parts.bad(".weight_shape", "has not two elements");
      VIBEE_ASSIGN(const std::vector<uint8_t> raw, parts.bytes(".weight_shape"));
      std::memcpy(&n, raw.data(), 8);
      std::memcpy(&k, raw.data() + 8, 8);
      padded = codes->shape[1] != words(k, s_.bits, false);
      if (k > (1u << 30) || codes->shape[0] != n || codes->shape[1] != words(k, s_.bits, padded))
        return parts.bad(codes_at,
                         fmt::format("is not [{}, {} codes of {} bits], as weight_shape says", n, k, s_.bits));
    } else {
      VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".weight", {"I8"}, 2));
      n = codes->shape[0];
      k = codes->shape[1];
    }
    const uint64_t group = s_.group == 0 ? k : s_.group;
    if (group % 32 != 0 || k % group != 0)
      return parts.bad(codes_at,
                       fmt::format("has {} inputs in groups of {}; groups of a multiple of 32 that divides the "
                                   "inputs are read",
                                   k, group));
    const SafetensorsTensor* scales = parts.find(".weight_scale");
    const bool one = scales != nullptr && s_.group == 0 && scales->bytes > 0 && scales->format &&
                     scales->bytes == info(*scales->format).block_bytes;  // of the whole matrix
    if (!one) {
      VIBEE_ASSIGN(scales, parts.need(".weight_scale", {"F16", "BF16", "F32"}, 2));
      const std::vector<uint64_t> want = {n, k / group};
      if (scales->shape != want) return parts.bad(".weight_scale", fmt::format("is not [{}, {}]", n, k / group));
    }
    if (!s_.symmetric) {
      VIBEE_ASSIGN(const SafetensorsTensor* zeros, parts.need(".weight_zero_point", {"I32"}, 2));
      const std::vector<uint64_t> want = {words(n, s_.bits, padded), k / group};
      if (zeros->shape != want)
        return parts.bad(".weight_zero_point", fmt::format("is not [{} codes of {} bits, {}]", n, s_.bits, k / group));
    }
    QuantizedLinear out{n, k, group_format(s_.bits == 8 ? GroupKind::i8s : GroupKind::i4z, group)};
    if (s_.packed) {
      VIBEE_ASSIGN(out.order, sorted_inputs(parts, ".weight_g_idx", k, group));
    }
    out.unpack = [parts, out, group, one, padded, s = s_](std::span<uint8_t> to) {
      return unpack(parts, out, group, one, padded, s, to);
    };
    return out;
  }

 private:
  /// Of so many codes; padded: as many whole codes a word as fit.
  static uint64_t words(uint64_t count, int64_t bits, bool padded) {
    const auto b = uint64_t(bits), a_word = 32 / b;
    return padded ? (count + a_word - 1) / a_word : (count * b + 31) / 32;
  }
  static Status unpack(const LinearParts& parts, const QuantizedLinear& out, uint64_t group, bool one, bool padded,
                       const Scheme& s, std::span<uint8_t> to) {
    VIBEE_ASSIGN(const std::vector<uint8_t> codes, parts.bytes(s.packed ? ".weight_packed" : ".weight"));
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".weight_scale"));
    std::vector<uint32_t> zeros;
    if (!s.symmetric) {
      VIBEE_ASSIGN(zeros, parts.words(".weight_zero_point"));
    }
    const uint64_t groups = out.k / group, row_bytes = codes.size() / out.n;
    const auto bits = uint64_t(s.bits);
    const auto code = [&](uint64_t i, auto&& word) {
      if (!padded) return code_at(i, bits, word);
      const uint64_t a_word = 32 / bits;
      return code_at(i % a_word, bits, [&](uint64_t) { return word(i / a_word); });
    };
    const auto code_of = [&](uint64_t row, uint64_t input) -> uint32_t {
      const uint8_t* from = codes.data() + row * row_bytes;
      if (!s.packed) return from[input] ^ 0x80;
      return code(input, [&](uint64_t w) {
        uint32_t word;
        std::memcpy(&word, from + 4 * w, 4);
        return word;
      });
    };
    write_groups(
        out.format, out.n, out.k, group,
        [&](uint64_t row, uint64_t at, uint8_t* code) {
          for (uint64_t i = 0; i < 32; ++i) {
            const uint32_t u = code_of(row, out.order.empty() ? at + i : out.order[at + i]);
            code[i] = uint8_t(bits == 8 ? u ^ 0x80 : u);
          }
        },
        [&](uint64_t row, uint64_t g) { return scale[one ? 0 : row * groups + g]; },
        [&](uint64_t row, uint64_t g) {
          return s.symmetric ? 1u << (bits - 1) : code(row, [&](uint64_t w) { return zeros[w * groups + g]; });
        },
        to.data());
    return {};
  }
  Scheme s_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> compressed_tensors_layout(const JsonValue& config) {
  const auto wrong = [](std::string_view what) { return error(Code::unsupported, "quantization_config: {}", what); };
  const JsonValue* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is(JsonValue::Kind::object) || groups->items.size() != 1)
    return wrong("config_groups with one group are read");
  const JsonValue& group = groups->items[0];
  const JsonValue* weights = group.find("weights");
  if (weights == nullptr || !weights->is(JsonValue::Kind::object)) return wrong("weights of config_groups are missing");
  const JsonValue* format = group.find("format") != nullptr ? group.find("format") : config.find("format");
  const std::string name = format != nullptr && format->is(JsonValue::Kind::text) ? format->text : "";
  if (name == "float-quantized") {
    VIBEE_ASSIGN(const int64_t bits, quantization_integer(*weights, "num_bits", {}));
    const JsonValue* by = weights->find("strategy");
    if (bits != 8 || by == nullptr || !by->is(JsonValue::Kind::text) || (by->text != "channel" && by->text != "tensor"))
      return wrong("of float-quantized, 8 bits by channel or tensor are read");
    return fp8_rows_layout();
  }
  if (name == "mxfp4-pack-quantized") return mxfp4_layout();
  if (name == "nvfp4-pack-quantized") return nvfp4_layout();
  if (name != "pack-quantized" && name != "int-quantized")
    return wrong(
        fmt::format("format {} is not read; pack-quantized, int-quantized, float-quantized, mxfp4-pack-quantized and "
                    "nvfp4-pack-quantized are",
                    format ? format->describe() : "missing"));
  Scheme s;
  s.packed = name == "pack-quantized";
  VIBEE_ASSIGN(s.bits, quantization_integer(*weights, "num_bits", {}));
  VIBEE_ASSIGN(s.symmetric, quantization_flag(*weights, "symmetric", true));
  const JsonValue* type = weights->find("type");
  if (type != nullptr && !(type->is(JsonValue::Kind::text) && type->text == "int"))
    return wrong(fmt::format("weights of type {} in {}; int is read", type->describe(), name));
  if (s.bits != 8 && !(s.packed && s.bits >= 2 && s.bits <= 4))
    return wrong(fmt::format("{} of {} bits; {} read", name, s.bits, s.packed ? "2, 3, 4 and 8 are" : "8 is"));
  if (!s.symmetric && s.bits == 8) return wrong("8 bits with zero points are not read");
  const JsonValue* strategy = weights->find("strategy");
  const std::string by = strategy != nullptr && strategy->is(JsonValue::Kind::text) ? strategy->text : "";
  if (by == "group") {
    VIBEE_ASSIGN(const int64_t size, quantization_integer(*weights, "group_size", {}));
    if (size < 32 || size > (1 << 20)) return wrong(fmt::format("group_size {}; 32 and more are read", size));
    s.group = uint64_t(size);
  } else if (by != "channel" && by != "tensor") {
    return wrong(
        fmt::format("strategy {}; group, channel and tensor are read", strategy ? strategy->describe() : "missing"));
  }
  return std::unique_ptr<QuantizedLayout>(std::make_unique<CompressedLayout>(s));
}

}  // namespace vibee
