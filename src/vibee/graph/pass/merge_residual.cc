// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

namespace vibee {

Graph pass_merge_residual(const Graph& graph) {
  Rewrite rw(graph);
  return rw.run([&](const Node& node) {
    if (node.op != Op::add) return false;
    for (size_t side : {1u, 0u}) {
      const Node* linear = rw.only(node.in[side], Op::linear);
      const ValueId residual = node.in[1 - side];
      if (linear == nullptr || graph.type(residual) != graph.type(node.in[side])) continue;
      rw.map(node.out[0], rw.emit(Op::linear_add, {rw.to(linear->in[0]), rw.to(linear->in[1]), rw.to(residual)}));
      return true;
    }
    return false;
  });
}

}  // namespace vibee
