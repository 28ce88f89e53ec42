// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/autodiff/differentiate.h"

#include <algorithm>
#include <optional>

#include "vibee/base/text/quote.h"
#include "vibee/graph/autodiff/gradient_rules.h"
#include "vibee/graph/ir/decompose.h"

namespace vibee {
namespace {

class Differentiator {
 public:
  Differentiator(const Graph& from, std::span<const std::string> weights)
      : from_(from),
        weights_(weights),
        needs_(from.values.size()),
        of_weights_(from.values.size()),
        gradients_(from.values.size()) {}

  /// Which values lie on a way from a wanted weight.
  Status mark() {
    for (size_t i = 0; i < weights_.size(); ++i)
      if (std::find(weights_.begin(), weights_.begin() + long(i), weights_[i]) != weights_.begin() + long(i))
        return error(Code::invalid, "weight {} is named twice", quote(weights_[i]));
    std::vector<bool> known(weights_.size());
    for (const Node& node : from_.nodes) {
      bool needs = false, of_weights = node.op == Op::weight || node.op == Op::constant || !node.in.empty();
      if (node.op == Op::weight) {
        const auto at = std::find(weights_.begin(), weights_.end(), node.text("name"));
        needs = at != weights_.end();
        if (needs) {
          const Type& type = from_.type(node.out[0]);
          if (!type.elem.is_float())
            return error(Code::unsupported, "weight {} is {}; gradients are towards weights of floats only", quote(*at),
                         to_string(type));
          const auto index = size_t(at - weights_.begin());
          if (known[index]) return error(Code::unsupported, "two nodes of the graph read weight {}", quote(*at));
          known[index] = true;
        }
      }
      for (ValueId id : node.in) {
        needs = needs || needs_[id];
        of_weights = of_weights && of_weights_[id];
      }
      if (!node.in.empty() && gradient_of(node.op).kind == GradientKind::stops) needs = false;
      for (ValueId id : node.out) needs_[id] = needs, of_weights_[id] = of_weights;
    }
    for (size_t i = 0; i < known.size(); ++i)
      if (!known[i]) return error(Code::not_found, "the graph has no weight {}", quote(weights_[i]));
    return {};
  }
  bool needs(const Node& node) const {
    return std::any_of(node.in.begin(), node.in.end(), [&](ValueId id) { return needs_[id]; });
  }

  Result<Graph> run() {
    joint_ = from_;  // values of the forward part keep their numbers
    const auto forward_nodes = joint_.nodes.size();
    const ValueId loss = from_.outputs[0];
    gradients_[loss] = joint_.source(Op::constant, from_.type(loss), {{"value", 1.0}});
    for (size_t n = forward_nodes; n-- > 0;)
      VIBEE_TRY(visit(from_.nodes[n]).within(fmt::format("node {} ({})", n, info(from_.nodes[n].op).name)));
    for (const std::string& name : weights_)
      for (size_t n = 0; n < forward_nodes; ++n) {
        const Node& node = from_.nodes[n];
        if (node.op != Op::weight || node.text("name") != name) continue;
        if (!gradients_[node.out[0]])
          return error(Code::invalid, "no gradient reaches weight {}: the loss does not depend on it", quote(name));
        joint_.outputs.push_back(*gradients_[node.out[0]]);
      }
    mark_phases(forward_nodes);
    Graph result = drop_dead(joint_);
    VIBEE_TRY(verify(result).within("the joint graph"));
    return result;
  }

 private:
  Status visit(const Node& node) {
    if (info(node.op).level == OpLevel::source || !needs(node)) return {};
    const Gradient& gradient = gradient_of(node.op);
    if (gradient.kind == GradientKind::stops) return {};
    for (size_t o = 1; o < node.out.size(); ++o)
      if (gradients_[node.out[o]])
        return error(Code::unsupported, "gradients pass its first result only, %{} needs one", node.out[o]);
    if (!gradients_[node.out[0]]) return {};
    if (gradient.kind == GradientKind::parts)
      return error(Code::unsupported, "it has no parts that could be differentiated ({})",
                   to_string(from_.type(node.out[0])));
    if (gradient.kind == GradientKind::refused) return error(Code::unsupported, "{}", gradient.why);
    std::vector<bool> wanted;
    for (ValueId id : node.in) wanted.push_back(needs_[id]);
    Backward backward(joint_, node, node.in, node.out, *gradients_[node.out[0]], wanted);
    gradient.rule(backward);
    VIBEE_TRY(Status(joint_.status()));
    std::vector<bool> given(node.in.size());
    for (const auto& [i, g] : backward.given()) {
      const Type want{kF32, from_.type(node.in[i]).dims};
      VIBEE_CHECK(wanted[i] && joint_.type(g) == want, "gradient of {} towards input {} is {}, not {}",
                  info(node.op).name, i, to_string(joint_.type(g)), to_string(want));
      given[i] = true;
      std::optional<ValueId>& sum = gradients_[node.in[i]];
      sum = sum ? joint_.add(Op::add, {*sum, g}) : g;
    }
    for (size_t i = 0; i < given.size(); ++i)
      if (backward.wants(i) && !given[i]) return error(Code::unsupported, "no gradient passes its input {}", i);
    return {};
  }

  /// Nodes that the gradient of a computed value needs are I; the rest is W.
  void mark_phases(size_t forward_nodes) {
    std::vector<bool> inner(joint_.nodes.size());
    for (ValueId id = 0; id < from_.values.size(); ++id)
      if (gradients_[id] && !of_weights_[id]) inner[joint_.values[*gradients_[id]].producer] = true;
    for (size_t n = joint_.nodes.size(); n-- > forward_nodes;) {
      Node& node = joint_.nodes[n];
      if (info(node.op).level == OpLevel::source) continue;
      if (inner[n])
        for (ValueId id : node.in) inner[joint_.values[id].producer] = true;
      node.attrs.emplace_back("phase", std::string(inner[n] ? "I" : "W"));
    }
  }

  const Graph& from_;
  std::span<const std::string> weights_;
  std::vector<bool> needs_, of_weights_;
  Graph joint_;
  std::vector<std::optional<ValueId>> gradients_;  ///< of each value of the forward graph, as far as it is summed
};

}  // namespace

Result<Graph> differentiate(const Graph& loss, std::span<const std::string> weights) {
  VIBEE_TRY(verify(loss));
  if (loss.outputs.size() != 1 || loss.type(loss.outputs[0]) != Type{kF32, {Dim{1}}})
    return error(Code::invalid, "graph {}: only a graph whose one output is a loss f32[1] can be differentiated",
                 quote(loss.name));
  Differentiator whole(loss, weights);
  VIBEE_TRY(whole.mark());
  const Graph parts = decompose(
      loss, [&](const Node& node) { return gradient_of(node.op).kind == GradientKind::parts && whole.needs(node); });
  Differentiator differentiator(parts, weights);
  VIBEE_TRY(differentiator.mark());
  return differentiator.run();
}

std::vector<std::string> trainable_weights(const Graph& graph) {
  std::vector<bool> reached(graph.values.size());
  for (ValueId id : graph.outputs) reached[id] = true;
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (gradient_of(node.op).kind == GradientKind::stops) continue;
    if (std::any_of(node.out.begin(), node.out.end(), [&](ValueId id) { return reached[id]; }))
      for (ValueId id : node.in) reached[id] = true;
  }
  std::vector<std::string> names;
  for (const Node& node : graph.nodes)
    if (node.op == Op::weight && reached[node.out[0]] && graph.type(node.out[0]).elem.is_float())
      names.emplace_back(node.text("name"));
  return names;
}

}  // namespace vibee
