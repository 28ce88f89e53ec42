// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

Graph pass_merge_gated(const Graph& graph) {
  Rewrite rw(graph);
  return rw.run([&](const Node& node) {
    if (node.op != Op::gated) return false;
    const Node* gate = rw.only(node.in[0], Op::linear);
    const Node* up = rw.only(node.in[1], Op::linear);
    if (gate == nullptr || up == nullptr || gate->in[0] != up->in[0]) return false;
    // Rows that no pass quantised are quantised in the call, by one rule.
    if (act_rule(graph.type(gate->in[1]).elem.format) != act_rule(graph.type(up->in[1]).elem.format)) return false;
    rw.map(node.out[0],
           rw.emit(Op::linear_gated, {rw.to(gate->in[0]), rw.to(gate->in[1]), rw.to(up->in[1])}, node.attrs));
    return true;
  });
}

}  // namespace vibee
