// SPDX-License-Identifier: Apache-2.0
// A node of a training graph as its function sees it; train_calls.cc maps ops to them.
#pragma once

#include "vibee/graph/exec/train_plan.h"

namespace vibee {

/// A node's values and sizes.
struct TrainCall {
  const Node& node;
  const TrainWorker& w;
  const float* in(size_t i) const { return w.plan.floats(node.in[i]); }
  const int32_t* ids(size_t i) const { return w.plan.integers(node.in[i]); }
  float* out(size_t i = 0) const { return w.plan.floats(node.out[i]); }
  const Type& in_type(size_t i) const { return w.plan.type(node.in[i]); }
  const Type& out_type() const { return w.plan.type(node.out[0]); }
  uint32_t rows(const Type& t) const { return uint32_t(value(t.dims[0], {int64_t(w.rows), 0})); }
  uint32_t width() const { return uint32_t(out_type().dims.back().n); }
  float eps() const { return float(node.number("eps")); }
  /// f(row, offset of the row) for this thread's rows of the result.
  template <class F>
  void each_row(F&& f) const {
    const Range mine = w.share_of(rows(out_type()));
    for (uint32_t r = mine.begin; r < mine.end; ++r) f(r, uint64_t(r) * width());
  }
  /// Elementwise work over this thread's rows: f(offset, count).
  template <class F>
  void elements(F&& f) const {
    const Range mine = w.share_of(rows(out_type()));
    f(uint64_t(mine.begin) * width(), (mine.end - mine.begin) * width());
  }
};

inline Gate gate_named(std::string_view name) {
  return name == "silu" ? Gate::silu : name == "gelu" ? Gate::gelu : Gate::gelu_tanh;
}

// The loss over a vocabulary (train_loss.cc).
void train_cross_entropy(const Node&, const TrainWorker&);
void train_cross_entropy_dx(const Node&, const TrainWorker&);
void train_cross_entropy_dw(const Node&, const TrainWorker&);

// Experts (train_moe.cc), and the floats of a thread's scratch that they need.
void train_moe_route(const Node&, const TrainWorker&);
void train_moe_route_dx(const Node&, const TrainWorker&);
void train_moe_gated(const Node&, const TrainWorker&);
void train_moe_gated_dx(const Node&, const TrainWorker&);
void train_moe_gated_dw(const Node&, const TrainWorker&);
void train_moe_down(const Node&, const TrainWorker&);
void train_moe_down_dx(const Node&, const TrainWorker&);
void train_moe_down_dw(const Node&, const TrainWorker&);
uint64_t train_moe_scratch(const Graph& graph, const Node& node);

}  // namespace vibee
