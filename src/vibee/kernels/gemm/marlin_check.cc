// SPDX-License-Identifier: Apache-2.0
// v1744: linears whose codes lie where the threads of an mma.m16n8k16 want them are the linears that they were, and a
// model whose matrices are in such groups.
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

/// A linear of four bits in groups of inputs, scales in halves.
struct Linear {
  uint64_t n, k, group;
  std::vector<uint8_t> codes;    ///< [n][k]
  std::vector<uint16_t> scales;  ///< [n][k / group]
  float value(uint64_t row, uint64_t i) const {
    return half_to_float(scales[row * (k / group) + i / group]) * float(int(codes[row * k + i]) - 8);
  }
};

/// The words as the kernel loads them. A warp multiplies 16 inputs by 64 outputs: lane l takes four words, one a tile
/// of 16 outputs. Each holds two fragments of B (PTX ISA, mma.m16n8k16: lane l has rows 2 (l % 4) + {0, 1} and those 8
/// below, of column l / 4), the second for the upper 8 outputs. A mask of one nibble in each half of the word gives two
/// codes that lie one above the other in a register: nibbles i and i + 4 are register i of the four.
std::vector<uint32_t> words_of(const Linear& l) {
  std::vector<uint32_t> out;
  for (uint64_t k = 0; k < l.k; k += 16)
    for (uint64_t n = 0; n < l.n; n += 64)
      for (uint64_t lane = 0; lane < 32; ++lane)
        for (uint64_t tile = 0; tile < 4; ++tile) {
          uint32_t word = 0;
          for (uint64_t reg = 0; reg < 4; ++reg) {
            const uint64_t column = n + 16 * tile + lane / 4 + 8 * (reg / 2), row = k + 2 * (lane % 4) + 8 * (reg % 2);
            word |= uint32_t(l.codes[column * l.k + row]) << (4 * reg);
            word |= uint32_t(l.codes[column * l.k + row + 1]) << (4 * reg + 16);
          }
          out.push_back(word);
        }
  return out;
}

/// Scales as a lane loads them: sixteen bytes at once, eight halves. Of groups those of its column l / 4 in the eight
/// fragments of 64 outputs; of whole rows those of the outputs that it holds sums of, 2 (l % 4) + {0, 1} of four
/// fragments.
std::vector<uint16_t> scales_of(const Linear& l) {
  const uint64_t groups = l.k / l.group;
  std::vector<uint16_t> out;
  for (uint64_t g = 0; g < groups; ++g)
    if (groups > 1) {
      for (uint64_t n = 0; n < l.n; n += 64)
        for (uint64_t column = 0; column < 8; ++column)
          for (uint64_t fragment = 0; fragment < 8; ++fragment)
            out.push_back(l.scales[(n + 8 * fragment + column) * groups + g]);
    } else {
      for (uint64_t n = 0; n < l.n; n += 32)
        for (uint64_t pair = 0; pair < 4; ++pair)
          for (uint64_t fragment = 0; fragment < 4; ++fragment)
            for (uint64_t i = 0; i < 2; ++i) out.push_back(l.scales[n + 8 * fragment + 2 * pair + i]);
    }
  return out;
}

/// Values of a linear, packed so and read, that are others than before.
Result<uint64_t> differing(const Linear& l) {
  const std::vector<uint32_t> words = words_of(l);
  const std::vector<uint16_t> scales = scales_of(l);
  const std::string header = fmt::format(
      R"({{"l.B":{{"dtype":"I32","shape":[{},{}],"data_offsets":[0,{}]}},"l.s":{{"dtype":"F16","shape":[{},{}],"data_offsets":[{},{}]}}}})",
      l.k / 16, 2 * l.n, 4 * words.size(), l.k / l.group, l.n, 4 * words.size(), 4 * words.size() + 2 * scales.size());
  std::vector<uint8_t> file(8 + header.size() + 4 * words.size() + 2 * scales.size());
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), length);
  std::memcpy(file.data() + 8 + length, words.data(), 4 * words.size());
  std::memcpy(file.data() + 8 + length + 4 * words.size(), scales.data(), 2 * scales.size());
  VIBEE_ASSIGN(Safetensors parsed, parse_safetensors(std::move(file), "check"));
  VIBEE_ASSIGN(SafetensorsSet set, SafetensorsSet::of(std::move(parsed)));
  VIBEE_ASSIGN(const JsonValue config, parse_json(fmt::format(R"({{"quant_method":"marlin","group_size":{}}})",
                                                              l.group == l.k ? -1 : int64_t(l.group))));
  VIBEE_ASSIGN(const auto layout, quantized_layout(config));
  VIBEE_ASSIGN(const SafetensorsSet read, unpack_quantized(std::move(set), *layout));
  const auto& place = read.tensors().at("l.weight");
  std::vector<uint8_t> raw(place.tensor->bytes);
  VIBEE_TRY(place.file->read(*place.tensor, 0, raw));
  std::vector<float> values(l.n * l.k);
  info(*place.tensor->format).decode(raw.data(), values.size(), values.data());
  uint64_t wrong = 0;
  for (uint64_t row = 0; row < l.n; ++row)
    for (uint64_t i = 0; i < l.k; ++i) wrong += values[row * l.k + i] != l.value(row, i);
  return wrong;
}

}  // namespace

Status check_marlin(CheckContext& context) {
  context.not_built("the CUDA kernel of this layout; writing it; its forms of 8 bits, with zero points and in 2:4");
  if (context.describe_only()) return {};
  RandomStream random(context.settings().seed, Purpose::test);
  constexpr uint64_t kShapes[][3] = {{64, 128, 128},  {64, 256, 32},   {192, 256, 64},
                                     {320, 512, 128}, {128, 512, 512}, {64, 96, 96}};
  for (const auto& [n, k, group] : kShapes) {
    Linear l{n, k, group, std::vector<uint8_t>(n * k), std::vector<uint16_t>(n * (k / group))};
    for (uint8_t& c : l.codes) c = uint8_t(random.below(16));
    for (uint16_t& s : l.scales) s = float_to_half(0.001f + 0.1f * std::fabs(random.normal()));
    VIBEE_ASSIGN(const uint64_t wrong, differing(l));
    context.equal(fmt::format("{} x {} in groups of {}: values that are not those that were packed", n, k, group),
                  double(wrong), 0);
  }
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({"int4"}, true));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({"int4", "f32"}, true));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
  context.equal("int4: logits equal those of the same values in f32", a == b, 1);
  return {};
}

}  // namespace vibee
