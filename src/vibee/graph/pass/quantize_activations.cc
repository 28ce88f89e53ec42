// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "vibee/graph/pass/pass.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

Graph pass_quantize_activations(const Graph& graph) {
  Rewrite rw(graph);
  std::map<std::pair<ValueId, ActRule>, ValueId> quantized;  // one quantisation a value and rule, shared by its readers
  return rw.run([&](const Node& node) {
    if (node.op != Op::linear || !graph.type(node.in[0]).elem.is_f32()) return false;
    const ActRule rule = act_rule(graph.type(node.in[1]).elem.format);
    if (rule == ActRule::floats) return false;
    auto [at, is_new] = quantized.try_emplace({node.in[0], rule}, 0);
    Attrs attrs;
    if (rule != ActRule::block) attrs.emplace_back("rule", std::string(rule == ActRule::row ? "row" : name(rule)));
    if (is_new) at->second = rw.emit(Op::quantize, {rw.to(node.in[0])}, attrs);
    rw.map(node.out[0], rw.emit(Op::linear, {at->second, rw.to(node.in[1])}, node.attrs));
    return true;
  });
}

}  // namespace vibee
