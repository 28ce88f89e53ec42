// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/store_activations.h"

#include <algorithm>
#include <optional>

namespace vibee {
namespace {

class Storing {
 public:
  Storing(const Graph& from, Format compute)
      : from_(from),
        to_(info(compute).name),
        read_later_(from.values.size()),
        residual_(from.values.size()),
        floats_(from.values.size()),
        stored_(from.values.size()) {
    for (const Node& node : from.nodes) {
      for (const ValueId id : node.in) read_later_[id] = read_later_[id] || node.has("phase");
      // A sum of rows that has the stream in it is the stream.
      const bool sum = (node.op == Op::add && from.type(node.in[0]) == from.type(node.in[1])) || node.op == Op::scale;
      const auto is_stream = [&](ValueId id) { return residual_[id]; };
      if (node.op == Op::embed || (sum && std::any_of(node.in.begin(), node.in.end(), is_stream)))
        residual_[node.out[0]] = true;
    }
    // The loss, its gradients and what they start from: log-sum-exps of rows as they are.
    for (const Node& node : from.nodes)
      if (node.op == Op::cross_entropy) read_later_[node.in[0]] = false;
  }

  Graph run() {
    out_.name = from_.name;
    for (const Node& node : from_.nodes) {
      std::vector<ValueId> in;
      for (size_t i = 0; i < node.in.size(); ++i)
        in.push_back(reads_stored(node, i) ? *stored_[node.in[i]] : floats(node.in[i]));
      const ValueId first = put(node, std::move(in));
      for (size_t o = 0; o < node.out.size(); ++o) {
        floats_[node.out[o]] = first + ValueId(o);
        if (!keeps(node, o)) continue;
        stored_[node.out[o]] = out_.add(Op::cast, {first + ValueId(o)}, {{"to", to_}});
        floats_[node.out[o]].reset();
      }
    }
    VIBEE_CHECK(out_.status().ok(), "{}", out_.status().message());
    for (const ValueId id : from_.outputs) out_.outputs.push_back(floats(id));
    return std::move(out_);
  }

 private:
  /// Results of products and what is made of them element by element; nothing that is summed over layers, that chooses,
  /// or that is an exponent.
  bool keeps(const Node& node, size_t output) const {
    const ValueId id = node.out[output];
    if (node.has("phase") || !read_later_[id] || residual_[id]) return false;
    switch (node.op) {
      case Op::linear:
      case Op::add:  // of a bias, or of what an adapter adds
      case Op::scale:
      case Op::mul:
      case Op::rope:
      case Op::rms_norm:  // its statistics are made again of the residual stream
      case Op::layer_norm:
      case Op::activation:
      case Op::gated:
      case Op::moe_gated:
      case Op::moe_down: return true;
      case Op::self_attention: return output == 0;  // the other are log-sum-exps, whose error is one of probabilities
      default: return false;  // routes are numbers of experts and softmaxes; rotations are positions
    }
  }
  /// Products and what works element by element.
  bool reads_stored(const Node& node, size_t input) const {
    if (!stored_[node.in[input]]) return false;
    switch (node.op) {
      case Op::linear:
      case Op::moe_route:
      case Op::moe_gated:
      case Op::moe_gated_dx:
      case Op::moe_gated_dw:
      case Op::moe_down:
      case Op::moe_down_dx:
      case Op::moe_down_dw:
      case Op::activation_dx: return input == 0;
      case Op::activation:
      case Op::gated:
      case Op::mul: return true;
      case Op::linear_dw: return input == 1;
      default: return false;
    }
  }
  ValueId floats(ValueId id) {
    if (!floats_[id]) floats_[id] = out_.add(Op::cast, {*stored_[id]}, {{"to", std::string("f32")}});
    return *floats_[id];
  }
  ValueId put(const Node& node, std::vector<ValueId> in) {
    if (info(node.op).level == OpLevel::source) return out_.source(node.op, from_.type(node.out[0]), node.attrs);
    return out_.add(node.op, std::move(in), node.attrs);
  }

  const Graph& from_;
  const std::string to_;
  Graph out_;
  std::vector<bool> read_later_;  ///< by the backward part
  std::vector<bool> residual_;    ///< the residual stream
  std::vector<std::optional<ValueId>> floats_, stored_;
};

}  // namespace

Graph store_activations(const Graph& joint, Format compute) {
  return compute == Format::f32 ? joint : Storing(joint, compute).run();
}

}  // namespace vibee
