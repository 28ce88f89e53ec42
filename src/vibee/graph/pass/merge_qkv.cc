// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

/// value = rope([rms_norm](linear(x, w)), table), each read once.
struct Chain {
  const Node *linear = nullptr, *norm = nullptr, *rope = nullptr;
};
Chain match(const Rewrite& rw, ValueId value) {
  Chain c;
  c.rope = rw.only(value, Op::rope);
  if (c.rope == nullptr) return c;
  ValueId before = c.rope->in[0];
  c.norm = rw.only(before, Op::rms_norm);
  if (c.norm != nullptr) before = c.norm->in[0];
  c.linear = rw.only(before, Op::linear);
  return c;
}

}  // namespace

Graph pass_merge_qkv(const Graph& graph) {
  Rewrite rw(graph);
  std::vector<const Node*> reader(graph.values.size());  // the attention that reads a state
  for (const Node& node : graph.nodes)
    if (node.op == Op::attention) reader[node.in[1]] = &node;
  return rw.run([&](const Node& node) {
    if (node.op != Op::kv_append || reader[node.out[0]] == nullptr) return false;
    const Node& attention = *reader[node.out[0]];
    const Chain q = match(rw, attention.in[0]), k = match(rw, node.in[1]);
    const Node* v = rw.only(node.in[2], Op::linear);
    if (q.linear == nullptr || k.linear == nullptr || v == nullptr) return false;
    const bool same_rows = q.linear->in[0] == k.linear->in[0] && k.linear->in[0] == v->in[0];
    const bool same_turn = q.rope->in[1] == k.rope->in[1] && q.rope->text("pairs") == k.rope->text("pairs");
    const int64_t d = attention.integer("head_dim");
    if (q.rope->integer("head_dim") != d || k.rope->integer("head_dim") != d ||
        node.integer("layer") != attention.integer("layer"))
      return false;
    // The call stands where the cache write stood: what the query needs must have been defined by then.
    if (q.linear->in[1] > node.out[0] || q.rope->in[1] > node.out[0] || (q.norm && q.norm->in[1] > node.out[0]))
      return false;
    // Rows that no pass quantised are quantised in the call, by one rule.
    const auto rule = [&](const Node* linear) { return act_rule(graph.type(linear->in[1]).elem.format); };
    if (rule(q.linear) != rule(k.linear) || rule(k.linear) != rule(v)) return false;
    // Heads must be whole panels, norms per head and on both or neither.
    if (!same_rows || !same_turn || d % 16 != 0 || (q.norm == nullptr) != (k.norm == nullptr)) return false;
    if (q.norm && q.norm->number("eps") != k.norm->number("eps")) return false;
    if (q.norm && (graph.type(q.norm->in[1]).dims[0].n != d || graph.type(k.norm->in[1]).dims[0].n != d)) return false;
    std::vector<ValueId> in = {rw.to(q.linear->in[0]), rw.to(q.linear->in[1]), rw.to(k.linear->in[1]),
                               rw.to(v->in[1]),        rw.to(q.rope->in[1]),   rw.to(node.in[0])};
    Attrs attrs = {{"layer", node.integer("layer")},
                   {"heads", attention.integer("heads")},
                   {"kv_heads", attention.integer("kv_heads")},
                   {"head_dim", d},
                   {"pairs", std::string(q.rope->text("pairs"))}};
    if (q.norm) {
      in.push_back(rw.to(q.norm->in[1]));
      in.push_back(rw.to(k.norm->in[1]));
      attrs.emplace_back("eps", q.norm->number("eps"));
    }
    const ValueId first = rw.emit(Op::linear_qkv, std::move(in), std::move(attrs));
    rw.map(attention.in[0], first);
    rw.map(node.out[0], first + 3);
    return true;
  });
}

}  // namespace vibee
