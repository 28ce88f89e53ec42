// SPDX-License-Identifier: Apache-2.0
// Checkpoints of EXL2 (ExLlamaV2, conversion/adaptivegptq.py and pack_tensor.cu): inputs sorted by importance, cut into
// groups, each of which has a width of its own. q_weight int32 [packed rows, outputs], the codes of an output in a
// group one behind the other from the lowest bit on; q_groups int16 pairs (bits, first packed row), bits descending;
// q_scale_max f16 [groups] and q_scale int32 [groups, outputs / 8], 4 bits an output; q_invperm int32 [k], the place of
// each input among the sorted ones. A value is (code - 2^(bits - 1)) scale with
//
//   scale = (q_scale + 1)^2 q_scale_max / 256,    exact in f32.
//
// Outputs are padded to a multiple of 32. A format of ours has one width a tensor: codes of at most 4 bits become i4z,
// wider ones i8s.
#include <numeric>

#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

constexpr std::string_view kParts[] = {".q_weight", ".q_scale", ".q_scale_max", ".q_groups", ".q_invperm"};
constexpr uint64_t kPadding = 32;
/// What inputs of a group are counted in.
constexpr uint64_t kUnit = 32;

struct Group {
  uint64_t bits, row;           ///< packed row that it begins with
  uint64_t first = 0, end = 0;  ///< sorted inputs
};

bool is_width(uint64_t bits) { return bits == 8 || (bits >= 2 && bits <= 6); }

/// The groups, which cover k inputs and `rows` packed rows.
Result<std::vector<Group>> read_groups(const LinearParts& parts, uint64_t k, uint64_t rows) {
  const auto bad = [&](std::string_view what) { return parts.bad(".q_groups", what); };
  VIBEE_ASSIGN(const SafetensorsTensor* t, parts.need(".q_groups", {"I16"}, 1));
  if (t->shape[0] % 2 != 0) return bad(fmt::format("has {} numbers, not two a group", t->shape[0]));
  VIBEE_ASSIGN(const std::vector<uint8_t> raw, parts.bytes(".q_groups"));
  std::vector<Group> out;
  for (size_t at = 0; at < raw.size(); at += 4) {
    const Group g{load_u16(&raw[at]), load_u16(&raw[at + 2])};
    if (!is_width(g.bits)) return bad(fmt::format("has {} bits in group {}; 2 to 6 and 8 are read", g.bits, at / 4));
    if (!out.empty() && g.bits > out.back().bits)
      return bad(fmt::format("has {} bits in group {} behind {}; bits descend", g.bits, at / 4, out.back().bits));
    if (out.empty() ? g.row != 0 : g.row <= out.back().row)
      return bad(fmt::format("begins group {} at packed row {}", at / 4, g.row));
    out.push_back(g);
  }
  if (out.back().row >= rows)
    return bad(fmt::format("begins group {} at packed row {} of {}", out.size() - 1, out.back().row, rows));
  uint64_t at = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    Group& g = out[i];
    const bool last = i + 1 == out.size();
    const uint64_t words = (last ? rows : out[i + 1].row) - g.row;
    g.first = at;
    at = g.end = last ? k : at + words * 32 / g.bits;
    const bool whole = (g.end - g.first) * g.bits == words * 32;
    if (at > k || g.first >= k || !whole)
      return bad(fmt::format("does not cover the {} inputs: group {} has {} packed rows of {} bits from input {} on", k,
                             i, words, g.bits, g.first));
    if (at % kUnit != 0)
      return bad(fmt::format("ends group {} at input {}; groups of a multiple of {} are read", i, at, kUnit));
  }
  return out;
}

/// The input at each sorted place; empty where they lie so.
Result<std::vector<uint32_t>> read_order(const LinearParts& parts, uint64_t k) {
  VIBEE_ASSIGN(const std::vector<uint32_t> place, parts.words(".q_invperm"));
  std::vector<uint32_t> order(k, UINT32_MAX);
  bool sorted = true;
  for (uint32_t i = 0; i < k; ++i) {
    if (place[i] >= k) return parts.bad(".q_invperm", fmt::format("has row {} of {}", place[i], k));
    if (order[place[i]] != UINT32_MAX) return parts.bad(".q_invperm", fmt::format("row {} appears twice", place[i]));
    order[place[i]] = i;
    sorted = sorted && place[i] == i;
  }
  if (sorted) order.clear();
  return order;
}

/// How many outputs there are without the padding: a bias says it, of a head the embedding.
uint64_t outputs(const LinearParts& parts, uint64_t padded) {
  const SafetensorsTensor* said = parts.find(".bias");
  if (said == nullptr && parts.name() == "lm_head") said = parts.beside("model.embed_tokens.weight");
  const uint64_t n = said == nullptr || said->shape.empty() ? padded : said->shape[0];
  return n <= padded && n + kPadding > padded ? n : padded;
}

class Exl2Layout final : public QuantizedLayout {
 public:
  std::string_view key() const override { return kParts[0]; }
  std::span<const std::string_view> parts() const override { return kParts; }

  Result<QuantizedLinear> linear(const LinearParts& parts) const override {
    VIBEE_ASSIGN(const SafetensorsTensor* codes, parts.need(".q_weight", {"I32"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* scales, parts.need(".q_scale", {"I32"}, 2));
    VIBEE_ASSIGN(const SafetensorsTensor* most, parts.need(".q_scale_max", {"F16"}, 1));
    VIBEE_ASSIGN(const SafetensorsTensor* places, parts.need(".q_invperm", {"I32"}, 1));
    const uint64_t padded = codes->shape[1], k = places->shape[0];
    VIBEE_ASSIGN(const std::vector<Group> groups, read_groups(parts, k, codes->shape[0]));
    if (most->shape[0] != groups.size()) return parts.bad(".q_scale_max", fmt::format("is not [{}]", groups.size()));
    const std::vector<uint64_t> want = {groups.size(), padded / 8};
    if (padded % 8 != 0 || scales->shape != want)
      return parts.bad(".q_scale", fmt::format("is not [{}, {} codes of 4 bits]", groups.size(), padded));
    uint64_t unit = k;
    for (const Group& g : groups) unit = std::gcd(unit, g.first);
    const GroupKind kind = groups[0].bits <= 4 ? GroupKind::i4z : GroupKind::i8s;
    QuantizedLinear out{outputs(parts, padded), k, group_format(kind, unit)};
    VIBEE_ASSIGN(out.order, read_order(parts, k));
    out.unpack = [parts, groups, padded, n = out.n, k, format = out.format](std::span<uint8_t> to) {
      return unpack(parts, groups, padded, n, k, format, to);
    };
    return out;
  }

 private:
  static Status unpack(const LinearParts& parts, const std::vector<Group>& groups, uint64_t padded, uint64_t n,
                       uint64_t k, Format format, std::span<uint8_t> to) {
    VIBEE_ASSIGN(const std::vector<uint32_t> words, parts.words(".q_weight"));
    VIBEE_ASSIGN(const std::vector<uint32_t> packed, parts.words(".q_scale"));
    VIBEE_ASSIGN(const std::vector<float> most, parts.floats(".q_scale_max"));
    std::vector<uint32_t> group_of;  // of each unit
    for (size_t i = 0; i < groups.size(); ++i)
      group_of.insert(group_of.end(), (groups[i].end - groups[i].first) / kUnit, uint32_t(i));
    const bool bytes = groups[0].bits > 4;
    write_groups(
        format, n, k, kUnit,
        [&](uint64_t row, uint64_t at, uint8_t* code) {
          const Group& g = groups[group_of[at / kUnit]];
          const auto word = [&](uint64_t w) { return words[(g.row + w) * padded + row]; };
          for (uint64_t i = 0; i < 32; ++i) {
            const uint32_t u = code_at(at - g.first + i, g.bits, word);
            code[i] = uint8_t(bytes ? u - (1u << (g.bits - 1)) : u);
          }
        },
        [&](uint64_t row, uint64_t u) {
          const uint32_t g = group_of[u], s = (packed[(g * padded + row) / 8] >> (4 * (row % 8)) & 15) + 1;
          return float(s * s) * most[g] / 256;
        },
        [&](uint64_t, uint64_t u) { return 1u << (groups[group_of[u]].bits - 1); }, to.data());
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<QuantizedLayout>> exl2_layout(const JsonValue&) {
  return std::unique_ptr<QuantizedLayout>(std::make_unique<Exl2Layout>());
}

}  // namespace vibee
