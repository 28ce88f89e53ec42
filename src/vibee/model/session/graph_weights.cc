// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/session/graph_weights.h"

#include <string_view>
#include <unordered_set>

namespace vibee {

std::vector<GraphWeight> weights_of(const Graph& graph, Isa isa) {
  std::vector<GraphWeight> all;
  std::unordered_set<std::string_view> seen;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::weight || !seen.insert(node.text("name")).second) continue;
    const Type& type = graph.type(node.out[0]);
    GraphWeight w{std::string(node.text("name"))};
    const size_t rank = type.dims.size();
    w.matrix = rank > 1;
    if (w.matrix) {
      w.shape.format = type.elem.format;
      w.shape.k = uint32_t(type.dims[rank - 1].n);
      w.shape.n = uint32_t(type.dims[rank - 2].n);
      w.shape.experts = rank == 3 ? uint32_t(type.dims[0].n) : 1;
      w.shape.nr = panel_rows(type.elem.format, isa);
    } else {
      w.length = uint64_t(type.dims[0].n);
    }
    all.push_back(std::move(w));
  }
  return all;
}

}  // namespace vibee
