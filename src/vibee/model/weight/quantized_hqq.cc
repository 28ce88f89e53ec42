// SPDX-License-Identifier: Apache-2.0
// Checkpoints of HQQ (Badri and Shaji 2023; hqq/core/quantize.py and bitpack.py) as transformers saves them: a matrix
// [n, k] is grouped along its inputs (axis 1) in G = n k / g groups of g, one behind the other. W_q [R, g] holds them
// packed by rows: its row r has the groups r, r + R, ..., the first in the highest bits: of 8, 4, 2 and 1 bits as many
// as a byte holds, of 3 bits ten an int32, G padded to tens. scale and zero, both floats, are [G, 1], a value is
//
//   (code - zero) * scale = scale * code - zero * scale,
//
// of which the last product is an offset of ours, rounded once: with u = 2^-24 and the offset o, what is decoded is off
// by at most u (|o| + |scale * code| + |value|), and o is exact where scale and zero are halves. Codes of bytes are
// signed here, so that o is (128 - zero) * scale for them.
//
// What a linear was made with stands beside it in tensors of one number each (nbits, group_size, axis, ...) or of
// letters (packing); config.json only says it again and is not looked at. W_q may be named a matrix of floats
// (view_as_float): the bytes are the same.
#include <cmath>

#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kCodes = ".W_q", kScale = ".scale", kZero = ".zero";
constexpr std::string_view kParts[] = {kCodes,
                                       kScale,
                                       kZero,
                                       ".shape",
                                       ".nbits",
                                       ".group_size",
                                       ".axis",
                                       ".packing",
                                       ".unpack_view_dtype",
                                       ".view_as_float",
                                       ".quant_scale",
                                       ".quant_zero",
                                       ".compute_dtype",
                                       ".offload_meta",
                                       ".encoded_state_dict",
                                       ".stores_quant_config",
                                       ".channel_wise",
                                       ".optimize",
                                       ".round_zero"};

struct Packing {
  std::string_view name;
  uint64_t bits, bytes, codes;  ///< of a code; of a word; codes a word
};
constexpr Packing kPackings[] = {
    {"8bit_u8", 8, 1, 1}, {"4bit_u8", 4, 1, 2}, {"3bit_32", 3, 4, 10}, {"2bit_u8", 2, 1, 4}, {"1bit_u8", 1, 1, 8}};

Result<Packing> read_packing(const LinearParts& parts) {
  VIBEE_ASSIGN(const SafetensorsTensor* t, parts.need(".packing", {"U8"}, 1));
  if (t->bytes > 16) return parts.bad(".packing", fmt::format("has {} letters", t->bytes));
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, parts.bytes(".packing"));
  const std::string_view name(reinterpret_cast<const char*>(raw.data()), raw.size());
  std::string known;
  for (const Packing& p : kPackings) {
    if (p.name == name) return p;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", p.name);
  }
  return parts.bad(".packing", fmt::format("is not one of {}", known));
}

/// A tensor of one whole number.
Result<int64_t> number(const LinearParts& parts, std::string_view suffix) {
  VIBEE_TRY(parts.need(suffix, {"I32"}, 0).take_status());
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, parts.bytes(suffix));
  return int64_t(int32_t(load_u32(raw.data())));
}

/// The flag of a part that is quantised itself.
Status plain(const LinearParts& parts, std::string_view flag) {
  if (parts.find(flag) == nullptr) return {};
  VIBEE_TRY(parts.need(flag, {"U8"}, 0).take_status());
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, parts.bytes(flag));
  if (raw[0] == 0) return {};
  return parts.bad(flag,
                   "is set: scales and zeros that are quantised themselves are not read; quantise the model again "
                   "without quant_scale and quant_zero");
}

/// The smallest format of codes of at least so many bits whose groups divide those of the file; nothing: none.
std::optional<Format> format_of(uint64_t bits, uint64_t group) {
  constexpr Format kOf64[] = {Format::i3m64, Format::i3m64, Format::i3m64, Format::i3m64, Format::i4m64,
                              Format::i5m64, Format::i6m64, Format::i7m64, Format::i8m64};
  if (bits == 4 || (bits < 4 && group % 64 != 0)) return group_format(GroupKind::i4m, group);
  if (group % 64 != 0) return std::nullopt;
  return kOf64[bits];
}

struct Hqq {
  Packing packing = {};
  uint64_t bits = 0, group = 0, groups = 0, rows = 0;  ///< rows of W_q
  /// Code that lies at the middle of a format's, which has them signed.
  uint64_t middle() const { return bits == 8 ? 128 : 0; }
};

Status unpack(const LinearParts& parts, const Hqq& h, Format held, std::span<uint8_t> to) {
  VIBEE_ASSIGN(const std::vector<uint8_t> packed, parts.bytes(kCodes));
  VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
  VIBEE_ASSIGN(const std::vector<float> zero, parts.floats(kZero));
  const NumericFormat& format = info(held);
  const auto most = uint32_t((1u << h.bits) - 1);
  uint8_t codes[128];
  uint8_t* out = to.data();
  for (uint64_t g = 0; g < h.groups; ++g) {
    const auto offset = float((double(h.middle()) - double(zero[g])) * double(scale[g]));
    if (!std::isfinite(offset)) return parts.bad(kZero, fmt::format("times scale is {} in group {}", offset, g));
    const uint64_t shift = (h.packing.codes - 1 - g / h.rows) * h.packing.bits;
    const uint8_t* from = packed.data() + g % h.rows * h.group * h.packing.bytes;
    for (uint64_t at = 0; at < h.group; at += format.block_elems, out += format.block_bytes) {
      std::memcpy(out, &scale[g], 4);
      std::memcpy(out + 4, &offset, 4);
      for (uint32_t i = 0; i < format.block_elems; ++i, from += h.packing.bytes) {
        const uint32_t word = h.packing.bytes == 4 ? load_u32(from) : *from;
        const uint32_t code = word >> shift & ((1u << h.packing.bits) - 1);
        if (code > most)
          return parts.bad(kCodes, fmt::format("has code {} in group {}; nbits says {}", code, g, h.bits));
        codes[i] = uint8_t(code);
      }
      format.put_codes(codes, out);
    }
  }
  return {};
}

class HqqLayout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kCodes; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_TRY(plain(parts, ".quant_scale"));
    VIBEE_TRY(plain(parts, ".quant_zero"));
    if (parts.find(".zero_scale") != nullptr)
      return parts.bad(".zero_scale",
                       "holds scales and zeros in one, which is not read; save the model again without "
                       "offload_meta");
    Hqq h;
    VIBEE_ASSIGN(const int64_t axis, number(parts, ".axis"));
    if (axis != 1)
      return parts.bad(".axis", fmt::format("is {}: groups along outputs are not read; quantise the model again with "
                                            "axis=1, along inputs",
                                            axis));
    VIBEE_ASSIGN(const SafetensorsTensor* shape, parts.need(".shape", {"I64"}, 1));
    if (shape->shape[0] != 2) return parts.bad(".shape", "has not two elements");
    VIBEE_ASSIGN(const std::vector<uint8_t> sizes, parts.bytes(".shape"));
    const uint64_t n = load_u64(sizes.data()), k = load_u64(sizes.data() + 8);
    constexpr uint64_t kMost = 1u << 30;
    if (n == 0 || k == 0 || n > kMost || k > kMost) return parts.bad(".shape", fmt::format("is [{}, {}]", n, k));
    VIBEE_ASSIGN(const int64_t group, number(parts, ".group_size"));
    if (group < 32 || group % 32 != 0 || k % uint64_t(group) != 0)
      return parts.bad(
          ".group_size",
          fmt::format("is {} with {} inputs; groups of a multiple of 32 that divides the inputs are read", group, k));
    h.group = uint64_t(group);
    h.groups = n * k / h.group;
    VIBEE_ASSIGN(h.packing, read_packing(parts));
    h.bits = h.packing.bits;
    if (h.bits == 8) {  // those of 5 and 6 bits lie in bytes too
      VIBEE_ASSIGN(const int64_t bits, number(parts, ".nbits"));
      if (bits < 5 || bits > 8) return parts.bad(".nbits", fmt::format("is {} in bytes; 5 to 8 are", bits));
      h.bits = uint64_t(bits);
    }
    const std::optional<Format> format = format_of(h.bits, h.group);
    if (!format)
      return parts.bad(".group_size",
                       fmt::format("is {}; with {} bits, groups of a multiple of 64 are read", group, h.bits));
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"U8", "I32", "F16", "BF16", "F32"}, 2));
    const bool padded = h.packing.bits == 3;
    h.rows = (h.groups + (padded ? h.packing.codes - 1 : 0)) / h.packing.codes;
    if (codes->shape[0] != h.rows || (!padded && h.rows * h.packing.codes != h.groups) ||
        codes->bytes != h.rows * h.group * h.packing.bytes)
      return parts.bad(kCodes, fmt::format("has {} rows and {} bytes for {} groups of {}, packed as {}",
                                           codes->shape[0], codes->bytes, h.groups, group, h.packing.name));
    for (const std::string_view suffix : {kScale, kZero}) {
      VIBEE_ASSIGN(const SafetensorsTensor* t, parts.need(suffix, {"F16", "BF16", "F32"}, 2));
      if (t->shape != std::vector<uint64_t>{h.groups, 1})
        return parts.bad(suffix, fmt::format("is not [{}, 1]", h.groups));
    }
    QuantizedLinear out{n, k, *format};
    out.unpack = [parts, h, held = *format](std::span<uint8_t> to) { return unpack(parts, h, held, to); };
    return out;
  }
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> hqq_layout(const JsonValue&) {
  return std::unique_ptr<QuantizedLayout>(std::make_unique<HqqLayout>());
}

}  // namespace vibee
