// SPDX-License-Identifier: Apache-2.0
// Checkpoints of Any-Precision LLM (Park et al., ICML 2024): a linear is qweight int32 [parent, n, k / 32], a plane a
// bit of the codes, the top one first, and for each width b from seed to parent a table lut<b> f16 [n, 2^b]. Of a width
// only its planes are read. In each 1024 weights of a row (of what is left over, in all 32 R of them) word t of T = 32
// (R) has weight 8 T j + 8 t + i at bit 31 - 8 j - i. config.json says `anyprec`. With `table: affine`, which is ours,
// there are scale and low f32 [n, k / 64] instead: code c of b bits is scale * 2^(parent - b) * (c + 1/2) + low.
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr uint64_t kAffineGroup = 64;
constexpr std::string_view kParts[] = {".qweight", ".weight", ".lut3", ".lut4",  ".lut5",
                                       ".lut6",    ".lut7",   ".lut8", ".scale", ".low"};

uint8_t reversed(uint8_t b) {
  b = uint8_t(b >> 4 | b << 4);
  b = uint8_t((b & 0xcc) >> 2 | (b & 0x33) << 2);
  return uint8_t((b & 0xaa) >> 1 | (b & 0x55) << 1);
}

Format table_format(uint64_t bits) { return Format(size_t(Format::lut3) + bits - 3); }
Format affine_format(uint64_t bits) {
  constexpr Format kFormats[] = {Format::i3m64, Format::i4m64, Format::i5m64,
                                 Format::i6m64, Format::i7m64, Format::i8m64};
  return kFormats[bits - 3];
}

class AnyPrecisionLayout final : public QuantizedLayout {
 public:
  AnyPrecisionLayout(uint64_t parent, uint64_t bits, bool affine) : parent_(parent), bits_(bits), affine_(affine) {}
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* planes, parts.need(".qweight", {"I32"}, 3));
    const uint64_t n = planes->shape[1], k = planes->shape[2] * 32, unit = affine_ ? kAffineGroup : 32;
    if (planes->shape[0] != parent_)
      return parts.bad(".qweight", fmt::format("has {} planes of {} bits", planes->shape[0], parent_));
    if (k % unit != 0) return parts.bad(".qweight", fmt::format("has {} inputs; a multiple of {} is read", k, unit));
    QuantizedLinear out{n, k, affine_ ? affine_format(bits_) : table_format(bits_)};
    if (affine_) {
      for (const std::string_view suffix : {".scale", ".low"}) {
        VIBEE_ASSIGN(const SafetensorsTensor* of_groups, parts.need(suffix, {"F32"}, 2));
        if (of_groups->shape != std::vector<uint64_t>{n, k / kAffineGroup})
          return parts.bad(suffix, fmt::format("is not [{}, {}]", n, k / kAffineGroup));
      }
    } else {
      const std::string lut = fmt::format(".lut{}", bits_);
      VIBEE_ASSIGN(const SafetensorsTensor* table, parts.need(lut, {"F16"}, 2));
      if (table->shape != std::vector<uint64_t>{n, uint64_t(1) << bits_})
        return parts.bad(lut, fmt::format("is not [{}, {}]", n, 1 << bits_));
    }
    out.unpack = [parts, out, parent = parent_, bits = bits_, affine = affine_](std::span<uint8_t> to) {
      return affine ? unpack_affine(parts, out, parent, bits, to) : unpack_tables(parts, out, bits, to);
    };
    return out;
  }

 private:
  /// put(row, block of 32, plane, the plane's bits, of element j bit j) of the first planes.
  template <class Put>
  static Status each_word(const LinearParts& parts, uint64_t n, uint64_t k, uint64_t bits, Put&& put) {
    const uint64_t words = k / 32;
    for (uint64_t p = 0; p < bits; ++p) {
      VIBEE_ASSIGN(const std::vector<uint8_t> plane, parts.bytes(".qweight", p * n * words * 4, n * words * 4));
      std::vector<uint8_t> row(words * 4);
      for (uint64_t r = 0; r < n; ++r) {
        const uint8_t* const from = plane.data() + r * words * 4;
        for (uint64_t first = 0; first < words; first += 32) {
          const uint64_t threads = std::min<uint64_t>(32, words - first);
          for (uint64_t t = 0; t < threads; ++t)
            for (uint64_t j = 0; j < 4; ++j) row[4 * first + j * threads + t] = reversed(from[4 * (first + t) + 3 - j]);
        }
        for (uint64_t w = 0; w < words; ++w) put(r, w, p, load_u32(row.data() + 4 * w));
      }
    }
    return {};
  }

  static Status unpack_tables(const LinearParts& parts, const QuantizedLinear& out, uint64_t bits,
                              std::span<uint8_t> to) {
    const std::string suffix = fmt::format(".lut{}", bits);
    VIBEE_TRY(parts.floats(suffix).take_status());
    VIBEE_ASSIGN(const std::vector<uint8_t> tables, parts.bytes(suffix));
    const uint64_t head = info(out.format).head_bytes, row_bytes = info(out.format).row_bytes(out.k);
    for (uint64_t r = 0; r < out.n; ++r) std::memcpy(to.data() + r * row_bytes, tables.data() + r * head, head);
    return each_word(parts, out.n, out.k, bits, [&](uint64_t r, uint64_t block, uint64_t plane, uint32_t word) {
      store_u32(to.data() + r * row_bytes + head + (block * bits + plane) * 4, word);
    });
  }

  static Status unpack_affine(const LinearParts& parts, const QuantizedLinear& out, uint64_t parent, uint64_t bits,
                              std::span<uint8_t> to) {
    VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(".scale"));
    VIBEE_ASSIGN(const std::vector<float> low, parts.floats(".low"));
    std::vector<uint8_t> codes(out.n * out.k);
    VIBEE_TRY(each_word(parts, out.n, out.k, bits, [&](uint64_t r, uint64_t block, uint64_t, uint32_t word) {
      uint8_t* const code = codes.data() + r * out.k + block * 32;
      for (uint32_t i = 0; i < 32; ++i) code[i] = uint8_t(code[i] << 1 | (word >> i & 1));
    }));
    const NumericFormat& format = info(out.format);
    for (uint64_t g = 0; g < scale.size(); ++g) {
      uint8_t* const group = to.data() + g * format.block_bytes;
      const float s = scale[g] * float(1u << (parent - bits)), middle = low[g] + s / 2,
                  offset = bits == 8 ? middle + 128 * s : middle;  // bytes have a sign
      std::memcpy(group, &s, 4);
      std::memcpy(group + 4, &offset, 4);
      format.put_codes(codes.data() + g * kAffineGroup, group);
    }
    return {};
  }

  uint64_t parent_, bits_;
  bool affine_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> any_precision_layout(const JsonValue& config, uint32_t bits) {
  uint64_t widths[2];
  constexpr std::string_view kKeys[] = {"seed_precision", "parent_precision"};
  for (int i = 0; i < 2; ++i) {
    const JsonValue* value = config.find(kKeys[i]);
    if (value == nullptr || !value->is(JsonValue::Kind::integer) || value->integer < 3 || value->integer > 8)
      return error(Code::unsupported, "anyprec: {} is {}; 3 to 8 bits are read", kKeys[i],
                   value ? value->describe() : "missing");
    widths[i] = uint64_t(value->integer);
  }
  if (widths[0] > widths[1])
    return error(Code::corrupt, "anyprec: seed_precision {} is above parent_precision {}", widths[0], widths[1]);
  const JsonValue* table = config.find("table");
  if (table != nullptr && !(table->is(JsonValue::Kind::text) && (table->text == "lut" || table->text == "affine")))
    return error(Code::unsupported, "anyprec: table {}; lut and affine are read", table->describe());
  const uint64_t wanted = bits == 0 ? widths[1] : bits;
  if (wanted < widths[0] || wanted > widths[1])
    return error(Code::invalid, "--bits {}: this model stores {} to {} bits", bits, widths[0], widths[1]);
  return std::unique_ptr<QuantizedLayout>(
      std::make_unique<AnyPrecisionLayout>(widths[1], wanted, table != nullptr && table->text == "affine"));
}

}  // namespace vibee
