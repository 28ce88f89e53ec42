// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/exl2_pack.h"

#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

uint64_t packed_rows(std::span<const Exl2Group> groups) {
  const Exl2Group& last = groups.back();
  return last.row + uint64_t(last.end - last.first) * last.bits / 32;
}

}  // namespace

std::vector<HfPart> exl2_parts(std::span<const Exl2Group> groups, uint32_t n, uint32_t k) {
  const uint64_t padded = exl2_padded(n), count = groups.size(), rows = packed_rows(groups);
  return {{".q_weight", "I32", {rows, padded}, 4 * rows * padded},
          {".q_scale", "I32", {count, padded / 8}, count * padded / 2},
          {".q_scale_max", "F16", {count}, 2 * count},
          {".q_groups", "I16", {2 * count}, 4 * count},
          {".q_invperm", "I32", {k}, 4 * uint64_t(k)}};
}

std::vector<std::vector<uint8_t>> exl2_pack(const Exl2Matrix& m, const std::function<uint64_t(uint64_t)>& row_of) {
  const std::vector<HfPart> parts = exl2_parts(m.groups, m.n, m.k);
  std::vector<std::vector<uint8_t>> out;
  for (const HfPart& part : parts) out.emplace_back(part.bytes);
  const uint64_t padded = exl2_padded(m.n);
  std::vector<uint32_t> words(out[0].size() / 4), scales(out[1].size() / 4);
  for (size_t g = 0; g < m.groups.size(); ++g) {
    const Exl2Group& group = m.groups[g];
    for (uint32_t r = 0; r < padded; ++r) {
      const uint64_t from = r < m.n ? row_of(r) : 0;
      if (r < m.n) scales[(g * padded + r) / 8] |= uint32_t(m.scales[g * m.n + from]) << (4 * (r % 8));
      for (uint32_t j = group.first; j < group.end; ++j) {
        const uint64_t code = r < m.n ? m.codes[from * m.k + j] : 1u << (group.bits - 1);
        const uint32_t bit = (j - group.first) * group.bits, shift = bit % 32;
        uint32_t* const at = words.data() + (group.row + bit / 32) * padded + r;
        *at |= uint32_t(code << shift);
        if (shift + group.bits > 32) at[padded] |= uint32_t(code >> (32 - shift));
      }
    }
    store_u16(&out[2][2 * g], m.most[g]);
    store_u16(&out[3][4 * g], uint16_t(group.bits));
    store_u16(&out[3][4 * g + 2], uint16_t(group.row));
  }
  for (size_t i = 0; i < words.size(); ++i) store_u32(&out[0][4 * i], words[i]);
  for (size_t i = 0; i < scales.size(); ++i) store_u32(&out[1][4 * i], scales[i]);
  for (uint32_t place = 0; place < m.k; ++place) store_u32(&out[4][4 * uint64_t(m.order[place])], place);
  return out;
}

}  // namespace vibee
