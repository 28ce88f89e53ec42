// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

namespace vibee {

Graph pass_merge_order(const Graph& graph) {
  Rewrite rw(graph);
  return rw.run([&](const Node& node) {
    if (node.op != Op::quantize || node.in.size() > 1) return false;
    const Node* order = rw.only(node.in[0], Op::permute_columns);
    if (order == nullptr || order->integer("inverse") != 0 || graph.type(order->in[0]).dims[1].n > 16384)
      return false;  // what is sorted in a call is kept on the stack
    rw.map(node.out[0], rw.emit(Op::quantize, {rw.to(order->in[0]), rw.to(order->in[1])}, node.attrs));
    return true;
  });
}

}  // namespace vibee
