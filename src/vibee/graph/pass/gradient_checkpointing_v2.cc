// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/gradient_checkpointing_v2.h"

#include <algorithm>
#include <iterator>

namespace vibee {
namespace {

/// The least level at which a node is computed again; nothing: never.
std::optional<Recompute> level_of(const Graph& g, const Node& node) {
  switch (node.op) {
    // Floats of 16 bits are made whenever they are needed; what is rounded is kept in their place.
    case Op::cast: return g.type(node.out[0]).elem.is_f32() ? Recompute::none : level_of(g, g.producer(node.in[0]));
    case Op::rms_norm:
    case Op::layer_norm:
    case Op::activation:
    case Op::gated:
    case Op::mul:
    case Op::scale:
    case Op::soft_cap: return Recompute::cheap;
    case Op::linear:
    case Op::moe_gated:
    case Op::rope: return Recompute::proj;
    // Rows and a bias; two sums of rows are the residual stream, which would be added up from its beginning.
    case Op::add:
      if (g.type(node.in[0]) == g.type(node.in[1])) return {};
      return Recompute::proj;
    case Op::self_attention: return Recompute::full;
    default: return {};
  }
}

class Recomputation {
 public:
  Recomputation(const Graph& from, Recompute level) : from_(from), again_(from.nodes.size()) {
    out_.name = from.name;
    kept_.resize(from.values.size());
    copies_.resize(from.values.size());
    for (size_t n = 0; n < from.nodes.size(); ++n) {
      const std::optional<Recompute> least = level_of(from, from.nodes[n]);
      again_[n] = least && *least <= level && !from.nodes[n].has("phase");
    }
    // The loss reads its rows in the forward part, and its gradients start from there too.
    for (const Node& node : from.nodes)
      if (node.op == Op::cross_entropy) again_[from.values[node.in[0]].producer] = false;
  }
  Graph run() {
    for (const Node& node : from_.nodes) {
      std::vector<ValueId> in;
      for (const ValueId id : node.in) in.push_back(node.has("phase") ? again(id) : kept_[id]);
      const std::vector<ValueId> results = put(node, std::move(in), node.attrs);
      for (size_t o = 0; o < results.size(); ++o) kept_[node.out[o]] = results[o];
    }
    for (const ValueId id : from_.outputs) out_.outputs.push_back(kept_[id]);
    return drop_dead(out_);
  }

 private:
  /// The value as the backward part reads it.
  ValueId again(ValueId id) {
    const uint32_t producer = from_.values[id].producer;
    if (!again_[producer]) return kept_[id];
    if (!copies_[id]) {
      const Node& node = from_.nodes[producer];
      std::vector<ValueId> in;
      for (const ValueId input : node.in) in.push_back(again(input));
      Attrs attrs = node.attrs;
      attrs.emplace_back("phase", std::string("R"));
      const std::vector<ValueId> results = put(node, std::move(in), std::move(attrs));
      for (size_t o = 0; o < results.size(); ++o) copies_[node.out[o]] = results[o];
    }
    return *copies_[id];
  }
  std::vector<ValueId> put(const Node& node, std::vector<ValueId> in, Attrs attrs) {
    Node copy{node.op, std::move(in), {}, std::move(attrs)};
    for (const ValueId id : node.out) {
      copy.out.push_back(ValueId(out_.values.size()));
      out_.values.push_back({from_.type(id), uint32_t(out_.nodes.size())});
    }
    out_.nodes.push_back(std::move(copy));
    return out_.nodes.back().out;
  }

  const Graph& from_;
  Graph out_;
  std::vector<bool> again_;  ///< nodes of the forward part that the backward part has copies of, where it reads them
  std::vector<ValueId> kept_;
  std::vector<std::optional<ValueId>> copies_;
};

constexpr RecomputeName kLevels[] = {
    {Recompute::none, "none"}, {Recompute::cheap, "cheap"}, {Recompute::proj, "proj"}, {Recompute::full, "full"}};

}  // namespace

std::span<const RecomputeName> recompute_levels() { return kLevels; }

Graph recompute(const Graph& joint, Recompute level) {
  const bool casts =
      std::any_of(joint.nodes.begin(), joint.nodes.end(), [](const Node& n) { return n.op == Op::cast; });
  return level == Recompute::none && !casts ? joint : Recomputation(joint, level).run();
}

}  // namespace vibee
