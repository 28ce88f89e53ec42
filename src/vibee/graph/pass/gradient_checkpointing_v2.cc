// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/gradient_checkpointing_v2.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>

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
    case Op::soft_cap:
    case Op::permute_columns: return Recompute::cheap;
    case Op::linear:
    case Op::moe_gated:
    case Op::rope: return Recompute::proj;
    // Rows and a bias; two sums of rows are the residual stream, which would be added up from its beginning.
    case Op::add:
      if (g.type(node.in[0]) == g.type(node.in[1])) return {};
      return Recompute::proj;
    case Op::self_attention: return Recompute::full;
    case Op::moe_down: return Recompute::sqrt;  // it goes into the residual stream
    default: return {};
  }
}

/// The layer that a weight's name says.
std::optional<uint32_t> layer_named(std::string_view weight) {
  constexpr std::string_view kLayer = "blk.";
  if (!weight.starts_with(kLayer)) return {};
  uint32_t n = 0;
  const auto [end, wrong] = std::from_chars(weight.data() + kLayer.size(), weight.data() + weight.size(), n);
  if (wrong != std::errc() || end == weight.data() + weight.size() || *end != '.') return {};
  return n;
}

/// One a node: 0 before the layers, N + 1 where weights of layer N are in what it computes.
std::vector<uint32_t> depths(const Graph& g) {
  std::vector<uint32_t> depth(g.nodes.size());
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    const Node& node = g.nodes[n];
    if (const auto layer = layer_named(node.text("name")); node.op == Op::weight && layer) depth[n] = *layer + 1;
    for (const ValueId id : node.in) depth[n] = std::max(depth[n], depth[g.values[id].producer]);
  }
  return depth;
}

/// Sums of the residual stream that layers begin with.
struct Stream {
  std::vector<bool> sums;                      ///< nodes that add to it
  std::vector<std::optional<uint32_t>> opens;  ///< one a node: the layer that reads its sum, of an earlier one
  std::optional<uint32_t> last;                ///< the last sum
  explicit Stream(const Graph& g) : sums(g.nodes.size()), opens(g.nodes.size()) {
    const std::vector<uint32_t> depth = depths(g);
    std::vector<bool> residual(g.values.size());
    for (uint32_t n = 0; n < g.nodes.size(); ++n) {
      const Node& node = g.nodes[n];
      if (node.has("phase")) continue;
      for (const ValueId id : node.in)
        if (const uint32_t from = g.values[id].producer; sums[from] && depth[from] < depth[n] && !opens[from])
          opens[from] = depth[n] - 1;
      const auto is_stream = [&](ValueId id) { return residual[id]; };
      const bool adds = node.op == Op::add && g.type(node.in[0]) == g.type(node.in[1]) &&
                        std::any_of(node.in.begin(), node.in.end(), is_stream);
      const bool passes = (node.op == Op::scale || node.op == Op::add || node.op == Op::cast) && is_stream(node.in[0]);
      if (node.op == Op::embed || adds || passes) residual[node.out[0]] = true;
      if (!adds) continue;
      sums[n] = true;
      last = n;
    }
  }
};

class Recomputation {
 public:
  /// `stride`: layers of which one keeps its input; 0: all keep theirs, and every sum of the stream.
  Recomputation(const Graph& from, std::span<const Recompute> levels, uint32_t stride)
      : from_(from), again_(from.nodes.size()), boundary_(from.nodes.size()) {
    out_.name = from.name;
    kept_.resize(from.values.size());
    const std::vector<uint32_t> layer = layer_of_nodes(from);
    for (size_t n = 0; n < from.nodes.size(); ++n) {
      const std::optional<Recompute> least = level_of(from, from.nodes[n]);
      again_[n] =
          least && *least <= levels[std::min<size_t>(layer[n], levels.size() - 1)] && !from.nodes[n].has("phase");
    }
    if (stride > 0) {
      const Stream stream(from);
      for (uint32_t n = 0; n < from.nodes.size(); ++n) {
        if (!stream.sums[n] || n == stream.last) continue;
        again_[n] = !stream.opens[n] || *stream.opens[n] % stride != 0;
        boundary_[n] = again_[n] && stream.opens[n];
      }
    }
    // The loss reads its rows in the forward part, and its gradients start from there too.
    for (const Node& node : from.nodes)
      if (node.op == Op::cross_entropy) again_[from.values[node.in[0]].producer] = false;
  }
  Graph run() {
    for (const Node& node : from_.nodes) {
      std::vector<ValueId> in;
      for (const ValueId id : node.in) in.push_back(node.has("phase") ? again(id, copies_) : kept_[id]);
      const std::vector<ValueId> results = put(node, std::move(in), node.attrs);
      for (size_t o = 0; o < results.size(); ++o) kept_[node.out[o]] = results[o];
    }
    for (const ValueId id : from_.outputs) out_.outputs.push_back(kept_[id]);
    return drop_dead(out_);
  }

 private:
  using Copies = std::map<ValueId, ValueId>;
  /// The value as the backward part reads it; `copies` are of what is computed for one layer. Inputs of layers are
  /// computed apart, so that nothing else of the layers before lives until their own backward part.
  ValueId again(ValueId id, Copies& copies) {
    const uint32_t producer = from_.values[id].producer;
    if (!again_[producer]) return kept_[id];
    if (!boundary_[producer]) return copy(id, copies, copies);
    Copies apart;
    return copy(id, copies_, apart);
  }
  ValueId copy(ValueId id, Copies& copies, Copies& inputs) {
    if (const auto there = copies.find(id); there != copies.end()) return there->second;
    const Node& node = from_.nodes[from_.values[id].producer];
    std::vector<ValueId> in;
    for (const ValueId input : node.in) in.push_back(again(input, inputs));
    Attrs attrs = node.attrs;
    attrs.emplace_back("phase", std::string("R"));
    const std::vector<ValueId> results = put(node, std::move(in), std::move(attrs));
    for (size_t o = 0; o < results.size(); ++o) copies[node.out[o]] = results[o];
    return copies[id];
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
  std::vector<bool> again_;     ///< nodes of the forward part that the backward part has copies of, where it reads them
  std::vector<bool> boundary_;  ///< of those: sums of the stream that a layer begins with
  std::vector<ValueId> kept_;
  Copies copies_;
};

constexpr RecomputeName kLevels[] = {{Recompute::none, "none"},
                                     {Recompute::cheap, "cheap"},
                                     {Recompute::proj, "proj"},
                                     {Recompute::full, "full"},
                                     {Recompute::sqrt, "sqrt"}};

bool casts(const Graph& g) {
  return std::any_of(g.nodes.begin(), g.nodes.end(), [](const Node& n) { return n.op == Op::cast; });
}

}  // namespace

std::span<const RecomputeName> recompute_levels() { return kLevels; }

std::vector<uint32_t> layer_of_nodes(const Graph& g) {
  std::vector<uint32_t> layer = depths(g);
  for (uint32_t& n : layer) n = std::max(n, 1u) - 1;
  return layer;
}

uint32_t layers_of(const Graph& g) {
  const std::vector<uint32_t> layer = layer_of_nodes(g);
  return layer.empty() ? 1 : *std::max_element(layer.begin(), layer.end()) + 1;
}

Graph recompute(const Graph& joint, Recompute level) {
  if (level == Recompute::none && !casts(joint)) return joint;
  uint32_t stride = 0;
  if (level == Recompute::sqrt)
    for (stride = 1; stride * stride < layers_of(joint);) ++stride;
  return Recomputation(joint, std::span(&level, 1), stride).run();
}

Graph recompute(const Graph& joint, std::span<const Recompute> levels) {
  const bool none = std::all_of(levels.begin(), levels.end(), [](Recompute level) { return level == Recompute::none; });
  return levels.empty() || (none && !casts(joint)) ? joint : Recomputation(joint, levels, 0).run();
}

}  // namespace vibee
