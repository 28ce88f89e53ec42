// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

namespace vibee {

Graph pass_merge_lora(const Graph& graph) {
  Rewrite rw(graph);
  return rw.run([&](const Node& node) {
    if (node.op != Op::lora_up) return false;
    const Node* linear = rw.only(node.in[0], Op::linear);
    if (linear == nullptr) return false;
    rw.map(node.out[0],
           rw.emit(Op::linear_lora, {rw.to(linear->in[0]), rw.to(linear->in[1]), rw.to(node.in[1])}, node.attrs));
    return true;
  });
}

}  // namespace vibee
