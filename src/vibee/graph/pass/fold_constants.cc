// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/ir/tensor_value.h"
#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

/// Larger results stay expressions: a graph is meant to be read.
constexpr int64_t kMostFolded = 4096;

}  // namespace

Graph pass_fold_constants(const Graph& graph) {
  Rewrite rw(graph);
  std::vector<TensorValue> known(graph.values.size());  // values of constants; others have no type
  std::vector<bool> is_known(graph.values.size());
  return rw.run([&](const Node& node) {
    const Type& type = graph.type(node.out[0]);
    auto value = make_value<float>(type.elem.is_f32() ? type : Type{kF32, {Dim{1}}}, {});
    if (node.op == Op::constant) {
      auto values = constant_values(node, type);
      if (!values.ok() || !value.ok()) return false;
      value->f = std::move(*values);
      known[node.out[0]] = std::move(*value);
      is_known[node.out[0]] = true;
      return false;
    }
    if (info(node.op).level != OpLevel::primitive || !value.ok() || value->f.size() > size_t(kMostFolded)) return false;
    std::vector<const TensorValue*> in;
    for (ValueId id : node.in) {
      if (!is_known[id]) return false;
      in.push_back(&known[id]);
    }
    if (!evaluate_primitive<float>(node, in, &*value).ok()) return false;
    rw.map(node.out[0], rw.source(Op::constant, type, constant_attrs(value->f)));
    known[node.out[0]] = std::move(*value);
    is_known[node.out[0]] = true;
    return true;
  });
}

}  // namespace vibee
