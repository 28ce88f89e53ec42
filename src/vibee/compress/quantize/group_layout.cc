// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/group_layout.h"

#include <cstring>

namespace vibee {
namespace {

struct Row {
  std::string_view scheme;
  const GroupLayout* layout;
};
std::span<const Row> rows() {
  static const Row kRows[] = {{"gptq", gptq_group_layout()},
                              {"awq", awq_group_layout()},
                              {"compressed-tensors", compressed_tensors_group_layout()},
                              {"bitsandbytes:nf4", bitsandbytes_group_layout(Format::nf4s64)},
                              {"bitsandbytes:fp4", bitsandbytes_group_layout(Format::fp4s64)}};
  return kRows;
}

}  // namespace

const GroupLayout* find_group_layout(std::string_view scheme) {
  for (const Row& row : rows())
    if (row.scheme == scheme) return row.layout;
  return nullptr;
}

std::vector<std::string> group_schemes() {
  std::vector<std::string> out;
  for (const Row& row : rows()) out.emplace_back(row.scheme);
  return out;
}

Result<std::optional<StatedScheme>> stated_scheme(const JsonValue& config, const SafetensorsSet& files) {
  const JsonValue* method = config.find("quant_method");
  for (const Row& row : rows()) {
    if (method == nullptr || method->text != row.layout->method()) continue;
    VIBEE_ASSIGN(const GroupScheme scheme, row.layout->stated(config, files));
    if (row.layout->check(scheme).ok()) return std::optional(StatedScheme{row.layout, scheme});
  }
  return std::optional<StatedScheme>();
}

Format stated_type(const SafetensorsSet& files, std::string_view suffix) {
  for (const auto& [name, place] : files.tensors())
    if (name.ends_with(suffix) && place.tensor->format) return *place.tensor->format;
  return Format::f16;
}

std::string_view float_dtype(Format type) { return type == Format::f32 ? "F32" : type == Format::f16 ? "F16" : "BF16"; }
uint64_t float_bytes(Format type) { return info(type).block_bytes; }

std::vector<uint8_t> bytes_of(std::span<const uint32_t> words) {
  std::vector<uint8_t> out(words.size() * 4);
  std::memcpy(out.data(), words.data(), out.size());
  return out;
}

std::vector<uint8_t> scales_of(const GroupMatrix& m, Format type, const GroupLayout::RowOf& row_of, bool groups_first) {
  const uint64_t groups = m.k / m.group;
  std::vector<float> values(m.scales.size());
  for (uint64_t r = 0; r < m.n; ++r)
    for (uint64_t g = 0; g < groups; ++g)
      values[groups_first ? g * m.n + r : r * groups + g] = m.scales[row_of(r) * groups + g];
  std::vector<uint8_t> out(values.size() * float_bytes(type));
  info(type).encode(values.data(), values.size(), nullptr, out.data());
  return out;
}

std::vector<uint8_t> input_groups(const GroupMatrix& m) {
  std::vector<uint32_t> out(m.k);
  for (uint64_t i = 0; i < m.k; ++i) out[m.order.empty() ? i : m.order[i]] = uint32_t(i / m.group);
  return bytes_of(out);
}

}  // namespace vibee
