// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/pass.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr Pass kPasses[] = {
#define VIBEE_PASS(id, summary) {#id, summary, pass_##id},
#include "vibee/graph/pass/passes.inc"
#undef VIBEE_PASS
};

}  // namespace

std::span<const Pass> all_passes() { return kPasses; }

Result<Graph> run_passes(Graph graph, std::span<const std::string> disabled) {
  for (const std::string& id : disabled) {
    if (std::any_of(std::begin(kPasses), std::end(kPasses), [&](const Pass& p) { return p.id == id; })) continue;
    std::string known;
    for (const Pass& p : kPasses) known += (known.empty() ? "" : ", ") + std::string(p.id);
    return error(Code::invalid, "--disable {}: no such pass; passes are {}", id, known);
  }
  VIBEE_TRY(verify(graph));
  for (const Pass& pass : kPasses) {
    if (std::find(disabled.begin(), disabled.end(), pass.id) != disabled.end()) continue;
    graph = drop_dead(pass.run(graph));
    VIBEE_TRY(verify(graph).within(fmt::format("after pass {}", pass.id)));
  }
  return graph;
}

Rewrite::Rewrite(const Graph& from) : from_(from), map_(from.values.size()), uses_(from.uses()) {
  out_.name = from.name;
}

void Rewrite::copy(const Node& node) {
  if (info(node.op).level == OpLevel::source) {
    map_[node.out[0]] = out_.source(node.op, from_.type(node.out[0]), node.attrs);
    return;
  }
  std::vector<ValueId> in;
  for (ValueId id : node.in) in.push_back(map_[id]);
  const ValueId first = out_.add(node.op, std::move(in), node.attrs);
  for (size_t i = 0; i < node.out.size(); ++i) map_[node.out[i]] = first + ValueId(i);
}

const Node* Rewrite::only(ValueId old, Op op) const {
  const Node& node = from_.producer(old);
  return node.op == op && uses_[old] == 1 ? &node : nullptr;
}

Graph Rewrite::finish() {
  VIBEE_CHECK(out_.status().ok(), "{}", out_.status().message());
  for (ValueId id : from_.outputs) out_.outputs.push_back(map_[id]);
  return std::move(out_);
}

}  // namespace vibee
