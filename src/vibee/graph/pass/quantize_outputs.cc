// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

namespace vibee {

Graph pass_quantize_outputs(const Graph& graph) {
  Rewrite rw(graph);
  // Producers whose only reader is a quantisation block by block, in their order, and whose slices are whole blocks.
  const auto producer = [&](const Node& quantize) -> const Node* {
    if (graph.type(quantize.out[0]).elem != kAct8 || quantize.in.size() > 1) return nullptr;
    if (const Node* n = rw.only(quantize.in[0], Op::attention)) return n->integer("head_dim") % 32 == 0 ? n : nullptr;
    return rw.only(quantize.in[0], Op::linear_gated);
  };
  std::vector<bool> fused(graph.values.size());
  for (const Node& node : graph.nodes)
    if (node.op == Op::quantize && producer(node) != nullptr) fused[node.in[0]] = true;
  return rw.run([&](const Node& node) {
    if (node.op == Op::quantize && fused[node.in[0]]) {
      rw.map(node.out[0], rw.to(node.in[0]));
      return true;
    }
    if ((node.op != Op::attention && node.op != Op::linear_gated) || !fused[node.out[0]]) return false;
    Attrs attrs = node.attrs;
    attrs.emplace_back("quantized", int64_t(1));
    std::vector<ValueId> in;
    for (ValueId id : node.in) in.push_back(rw.to(id));
    rw.map(node.out[0], rw.emit(node.op, std::move(in), std::move(attrs)));
    return true;
  });
}

}  // namespace vibee
