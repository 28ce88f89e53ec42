// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

namespace vibee {

Graph pass_merge_norm(const Graph& graph) {
  Rewrite rw(graph);
  return rw.run([&](const Node& node) {
    if (node.op != Op::quantize) return false;
    const Node* norm = rw.only(node.in[0], Op::rms_norm);
    if (norm == nullptr || graph.type(norm->in[0]).dims[1].n > 16384)
      return false;  // a fused norm keeps its row on the stack
    Attrs attrs = norm->attrs;
    attrs.insert(attrs.end(), node.attrs.begin(), node.attrs.end());
    std::vector<ValueId> in = {rw.to(norm->in[0]), rw.to(norm->in[1])};
    if (node.in.size() > 1) in.push_back(rw.to(node.in[1]));  // an order of columns
    rw.map(node.out[0], rw.emit(Op::norm_quantize, std::move(in), std::move(attrs)));
    return true;
  });
}

}  // namespace vibee
