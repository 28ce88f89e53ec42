// SPDX-License-Identifier: Apache-2.0
// Graph-to-graph rewrites. One runner skips what is disabled, runs, drops dead nodes and verifies after every pass.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/graph/ir/ir.h"

namespace vibee {

struct Pass {
  std::string_view id, summary;
  Graph (*run)(const Graph&);
};
std::span<const Pass> all_passes();

/// The graph after every pass that is not in `disabled`. An unknown id is an error that lists the known ones.
Result<Graph> run_passes(Graph graph, std::span<const std::string> disabled = {});

#define VIBEE_PASS(id, summary) Graph pass_##id(const Graph&);
#include "vibee/graph/pass/passes.inc"
#undef VIBEE_PASS

/// Copies a graph node by node; a pass overrides what happens at the nodes it knows. Values are renamed by `to`.
class Rewrite {
 public:
  explicit Rewrite(const Graph& from);
  /// Calls visit(node); when it returns false the node is copied as it is.
  template <class F>
  Graph run(F&& visit) {
    for (const Node& node : from_.nodes)
      if (!visit(node)) copy(node);
    return finish();
  }
  const Graph& from() const { return from_; }
  ValueId to(ValueId old) const { return map_[old]; }
  void map(ValueId old, ValueId renamed) { map_[old] = renamed; }
  void copy(const Node& node);
  ValueId emit(Op op, std::vector<ValueId> in, Attrs attrs = {}) {
    return out_.add(op, std::move(in), std::move(attrs));
  }
  ValueId source(Op op, Type type, Attrs attrs) { return out_.source(op, std::move(type), std::move(attrs)); }
  /// The producer of `old` if it is this op and nobody else reads the value, else nullptr.
  const Node* only(ValueId old, Op op) const;
  const Type& type(ValueId renamed) const { return out_.type(renamed); }

 private:
  Graph finish();
  const Graph& from_;
  Graph out_;
  std::vector<ValueId> map_;
  std::vector<uint32_t> uses_;
};

}  // namespace vibee
