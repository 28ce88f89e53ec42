// SPDX-License-Identifier: Apache-2.0
// Checkpoints of QServe (QoQ, Lin et al., MLSys 2025, arXiv:2405.04532; quantized_linear/w4a8_linear.py), as
// safetensors with the quantization_config that SGLang reads: quant_method qoq, wbits 4, group_size 128 or -1.
//
// qweight int8 [n, k / 2] has tiles of 32 x 32 codes in the order of tensor cores: row 16 a + 8 b + c and column
// 16 d + 4 e + f of a tile stand in byte (((4 c + e) 2 + d) 2 + b) 4 + f, in its low half where a is 0.
//
//   in groups     s1_scales f16 [n]; s2_scales and s2_zeros int8 [k / 128, n], of which each 32 columns are the rows
//                 0, 8, 16, 24, 1, 9, ... of their tile: s1 * (s2 * code + s2_zero), whose zeros are -zero * s2 modulo
//                 256 and whose sums are signed bytes
//   a row alone   s1_scales and s1_szeros f16 [n]: s1 * code - s1_szero
//
// The first become qoq128, which holds s2 from 1 to 16 and whole zeros from 0 to 15; the second i4m with one scale and
// one offset a row.
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kCodes = ".qweight", kScale = ".s1_scales", kOffset = ".s1_szeros",
                           kGroupScale = ".s2_scales", kGroupZero = ".s2_zeros";
constexpr std::string_view kParts[] = {kCodes, kScale, kOffset, kGroupScale, kGroupZero};
constexpr uint64_t kTile = 32, kGroup = 128;

/// The 32 codes of a row from input `at` on, a multiple of 32.
void row_codes(const std::vector<uint8_t>& packed, uint64_t k, uint64_t row, uint64_t at, uint8_t* codes) {
  const uint64_t r = row % kTile;
  const uint8_t* const tile = packed.data() + (row / kTile * (k / kTile) + at / kTile) * (kTile * kTile / 2);
  const uint32_t a = r / 16, b = r / 8 % 2, c = r % 8;
  for (uint32_t i = 0; i < kTile; ++i) {
    const uint32_t d = i / 16, e = i / 4 % 4, f = i % 4;
    codes[i] = tile[(((4 * c + e) * 2 + d) * 2 + b) * 4 + f] >> (4 * a) & 15;
  }
}
/// The column of a row in s2_scales and s2_zeros.
uint64_t group_column(uint64_t row) { return row / kTile * kTile + row % 8 * 4 + row % kTile / 8; }

Status unpack_groups(const LinearParts& parts, uint64_t n, uint64_t k, std::span<uint8_t> to) {
  VIBEE_ASSIGN(const std::vector<uint8_t> packed, parts.bytes(kCodes));
  VIBEE_TRY(parts.floats(kScale).take_status());
  VIBEE_ASSIGN(const std::vector<uint8_t> scales, parts.bytes(kScale));
  VIBEE_ASSIGN(const std::vector<uint8_t> steps, parts.bytes(kGroupScale));
  VIBEE_ASSIGN(const std::vector<uint8_t> zeros, parts.bytes(kGroupZero));
  const NumericFormat& format = info(Format::qoq128);
  uint8_t* out = to.data();
  for (uint64_t row = 0; row < n; ++row)
    for (uint64_t g = 0; g < k / kGroup; ++g, out += format.block_bytes) {
      const uint64_t at = g * n + group_column(row);
      const int step = int8_t(steps[at]), scaled = uint8_t(-zeros[at]);
      if (step < 1 || step > 16)
        return parts.bad(kGroupScale, fmt::format("has {} for group {} of row {}; 1 to 16 are held", step, g, row));
      const int zero = scaled / step;
      if (scaled % step != 0 || zero > 15)
        return parts.bad(kGroupZero, fmt::format("has {} for group {} of row {}, which no whole zero point from 0 to "
                                                 "15 and its scale {} make",
                                                 int8_t(zeros[at]), g, row, step));
      uint8_t codes[kGroup];
      for (uint64_t i = 0; i < kGroup; i += kTile) row_codes(packed, k, row, g * kGroup + i, codes + i);
      for (const uint8_t code : codes)
        if (const int byte = step * (code - zero); byte < -128 || byte > 127)
          return parts.bad(kCodes,
                           fmt::format("group {} of row {} reconstructs to {}, which is no signed byte", g, row, byte));
      out[0] = scales[2 * row];
      out[1] = scales[2 * row + 1];
      out[2] = uint8_t((step - 1) | zero << 4);
      for (uint64_t i = 0; i < kGroup / 2; ++i) {
        const uint64_t low = i / 16 * kTile + i % 16;
        out[3 + i] = uint8_t(codes[low] | codes[low + 16] << 4);
      }
    }
  return {};
}

Status unpack_rows(const LinearParts& parts, const QuantizedLinear& linear, std::span<uint8_t> to) {
  VIBEE_ASSIGN(const std::vector<uint8_t> packed, parts.bytes(kCodes));
  VIBEE_ASSIGN(const std::vector<float> scale, parts.floats(kScale));
  VIBEE_ASSIGN(const std::vector<float> offset, parts.floats(kOffset));
  write_groups(
      linear.format, linear.n, linear.k, linear.k,
      [&](uint64_t row, uint64_t at, uint8_t* codes) { row_codes(packed, linear.k, row, at, codes); },
      [&](uint64_t row, uint64_t) { return scale[row]; }, [&](uint64_t row, uint64_t) { return -offset[row]; },
      to.data());
  return {};
}

class QserveLayout final : public QuantizedLayout {
 public:
  explicit QserveLayout(bool groups) : groups_(groups) {}
  std::string_view key() const override { return kCodes; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(kCodes, {"I8"}, 2));
    const uint64_t n = codes->shape[0], k = codes->shape[1] * 2, unit = groups_ ? kGroup : kTile;
    if (n % kTile != 0 || k % unit != 0)
      return parts.bad(kCodes,
                       fmt::format("has {} rows of {} inputs; rows in 32s of inputs in {}s are read", n, k, unit));
    const auto need = [&](std::string_view suffix, std::string_view dtype,
                          const std::vector<uint64_t>& shape) -> Status {
      VIBEE_ASSIGN(const SafetensorsTensor* t, parts.need(suffix, {dtype}, shape.size()));
      if (t->shape == shape) return {};
      std::string wanted;
      for (const uint64_t d : shape) wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", d);
      return parts.bad(suffix, fmt::format("is not [{}]", wanted));
    };
    VIBEE_TRY(need(kScale, "F16", {n}));
    if (groups_) {
      VIBEE_TRY(need(kGroupScale, "I8", {k / kGroup, n}));
      VIBEE_TRY(need(kGroupZero, "I8", {k / kGroup, n}));
    } else {
      VIBEE_TRY(need(kOffset, "F16", {n}));
    }
    QuantizedLinear out{n, k, groups_ ? Format::qoq128 : group_format(GroupKind::i4m, k)};
    out.unpack = [parts, out, groups = groups_](std::span<uint8_t> to) {
      return groups ? unpack_groups(parts, out.n, out.k, to) : unpack_rows(parts, out, to);
    };
    return out;
  }

 private:
  bool groups_;
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> qserve_layout(const JsonValue& config) {
  VIBEE_ASSIGN(const int64_t bits, quantization_integer(config, "wbits", {}));
  if (bits != 4) return error(Code::unsupported, "quantization_config: wbits {} of qoq; 4 are read", bits);
  VIBEE_ASSIGN(const int64_t group, quantization_integer(config, "group_size", {}));
  if (group != -1 && group != int64_t(kGroup))
    return error(Code::unsupported, "quantization_config: group_size {} of qoq; 128, and -1 for rows, are read", group);
  return std::unique_ptr<QuantizedLayout>(std::make_unique<QserveLayout>(group != -1));
}

}  // namespace vibee
