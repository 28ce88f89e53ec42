// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/quantize_aware.h"

#include <algorithm>

namespace vibee {

void quantize_aware(Graph* joint, std::span<const Format> formats, const std::vector<std::string>& skip) {
  for (Node& node : joint->nodes) {
    if (node.op != Op::linear && node.op != Op::linear_dx) continue;
    const Node& weight = joint->producer(node.in[1]);
    const Type& type = joint->type(node.in[1]);
    if (weight.op != Op::weight || !type.elem.is_float()) continue;
    const std::string_view name = weight.text("name");
    const auto is_part = [&](const std::string& part) { return name.find(part) != std::string_view::npos; };
    if (std::any_of(skip.begin(), skip.end(), is_part)) continue;
    const auto k = uint64_t(type.dims[1].n);
    const auto divides = [&](Format f) { return k % info(f).block_elems == 0; };
    const auto first = std::find_if(formats.begin(), formats.end(), divides);
    const Format format = first == formats.end() ? fitting(formats[0], k) : *first;
    node.attrs.emplace_back("format", std::string(info(format).name));
  }
}

}  // namespace vibee
