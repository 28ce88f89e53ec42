// SPDX-License-Identifier: Apache-2.0
// What a gradient rule sees and gives: one node of the forward graph, the gradient of its first result, and which of
// its inputs want theirs. Gradients are f32, of whatever they are.
#pragma once

#include <utility>
#include <vector>

#include "vibee/graph/ir/ir.h"

namespace vibee {

class Backward {
 public:
  /// `in` and `out` are values of `joint`.
  Backward(Graph& joint, const Node& node, std::vector<ValueId> in, std::vector<ValueId> out, ValueId gradient,
           std::vector<bool> wanted)
      : joint_(joint),
        node_(node),
        in_(std::move(in)),
        out_(std::move(out)),
        g_(gradient),
        wanted_(std::move(wanted)) {}

  const Node& node() const { return node_; }
  ValueId in(size_t i) const { return in_[i]; }
  const std::vector<ValueId>& in() const { return in_; }
  ValueId out(size_t i = 0) const { return out_[i]; }
  /// The gradient of out(0).
  ValueId g() const { return g_; }
  bool wants(size_t i) const { return wanted_[i]; }
  const Type& type(ValueId id) const { return joint_.type(id); }

  ValueId op(Op op, std::vector<ValueId> in, Attrs attrs = {}) {
    return joint_.add(op, std::move(in), std::move(attrs));
  }
  /// The node's own attributes and more.
  Attrs attrs(Attrs more = {}) const;
  ValueId number(double x) { return joint_.source(Op::constant, {kF32, {Dim{1}}}, {{"value", x}}); }
  ValueId zeros(ValueId like) { return op(Op::expand, {number(0), like}); }
  /// g summed over the axes along which input `i` was broadcast.
  ValueId summed(ValueId g, size_t i) { return type(g) == type(in(i)) ? g : op(Op::sum_to, {g, in(i)}); }

  /// Input `i` wants a gradient and gets none: its shape alone is read, or it chooses.
  void none(size_t i) { wanted_[i] = false; }
  void give(size_t i, ValueId g) { given_.emplace_back(i, g); }
  const std::vector<std::pair<size_t, ValueId>>& given() const { return given_; }

 private:
  Graph& joint_;
  const Node& node_;
  std::vector<ValueId> in_, out_;
  ValueId g_;
  std::vector<bool> wanted_;
  std::vector<std::pair<size_t, ValueId>> given_;
};

enum class GradientKind : uint8_t { rule, parts, stops, refused };
struct Gradient {
  GradientKind kind;
  std::string_view why;     ///< of a refusal
  void (*rule)(Backward&);  ///< gives a gradient to every input that wants one
};
const Gradient& gradient_of(Op op);

}  // namespace vibee
