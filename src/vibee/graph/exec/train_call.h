// SPDX-License-Identifier: Apache-2.0
// A node of a training graph as its function sees it; train_calls.cc maps ops to them.
#pragma once

#include <algorithm>

#include "vibee/graph/exec/train_gemm.h"

namespace vibee {

/// A value that lies in another format than f32.
inline bool is_packed(const Type& type) {
  return (type.elem.kind == Elem::stored && !type.elem.is_f32()) || type.elem.kind == Elem::compressed;
}
/// A weight that products cannot read as it is.
inline bool is_blocks(const Type& type) { return type.elem.kind == Elem::stored && !type.elem.is_float(); }

/// A node's values and sizes.
struct TrainCall {
  const Node& node;
  const TrainWorker& w;
  const float* in(size_t i) const { return w.plan.floats(node.in[i]); }
  const int32_t* ids(size_t i) const { return w.plan.integers(node.in[i]); }
  /// An input [m, k], or [E, m, k] of which a product reads one at a time, as products read it.
  DenseOperand rows_of(size_t i) const {
    const Type& type = in_type(i);
    const void* p = is_packed(type) ? static_cast<const void*>(w.plan.stored(node.in[i])) : in(i);
    return {p, uint64_t(type.dims.back().n), false, type.elem.format};
  }
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
  /// The same over what the inputs hold as floats: f(elements of input 0, of input 1 if there is one, count, of the
  /// result). Those of 16 bits are widened some at a time.
  template <class F>
  void floats(F&& f) const {
    constexpr uint32_t kTile = 2048;
    const bool packed = is_packed(in_type(0)) || (node.in.size() > 1 && is_packed(in_type(1)));
    elements([&](uint64_t at, uint32_t n) {
      if (!packed) return f(in(0) + at, node.in.size() > 1 ? in(1) + at : nullptr, n, out() + at);
      alignas(64) float tiles[2][kTile];
      for (const uint64_t end = at + n; at < end; at += kTile) {
        const auto some = uint32_t(std::min<uint64_t>(kTile, end - at));
        const float* x[2] = {nullptr, nullptr};
        for (size_t i = 0; i < node.in.size(); ++i) {
          x[i] = tiles[i];
          if (is_packed(in_type(i)))
            widen(i, at, some, tiles[i]);
          else
            x[i] = in(i) + at;
        }
        f(x[0], x[1], some, out() + at);
      }
    });
  }
  /// Elements of input i, of 16 bits, as floats.
  void widen(size_t i, uint64_t at, uint32_t n, float* to) const {
    const auto* from = reinterpret_cast<const uint16_t*>(w.plan.stored(node.in[i])) + at;
    (in_type(i).elem.format == Format::f16 ? w.pointwise.from_half : w.pointwise.from_bf16)(from, n, to);
  }
  /// A weight's rows as products read them, on all threads: f(rows, the operand that begins with them). Those in blocks
  /// are decoded some at a time into memory of all threads, with barriers around f.
  template <class F>
  void weight_rows(size_t i, F&& f) const {
    const Type& type = in_type(i);
    const auto n = uint32_t(type.dims[0].n);
    const auto k = uint64_t(type.dims[1].n);
    if (!is_blocks(type)) return f(Range{0, n}, rows_of(i));
    const uint32_t block = decoded_rows(type);
    float* const floats = w.plan.decoded();
    for (uint32_t first = 0; first < n; first += block) {
      const Range rows{first, std::min(n, first + block)}, mine = w.share_of(rows.end - rows.begin);
      w.plan.decode(node.in[i], {first + mine.begin, first + mine.end}, floats + mine.begin * k);
      w.team.barrier();
      f(rows, DenseOperand{floats, k});
      w.team.barrier();
    }
  }
};

inline Gate gate_named(std::string_view name) {
  return name == "silu" ? Gate::silu : name == "gelu" ? Gate::gelu : Gate::gelu_tanh;
}

// The loss over a vocabulary (train_loss.cc).
void train_cross_entropy(const Node&, const TrainWorker&);
void train_cross_entropy_dx(const Node&, const TrainWorker&);
void train_cross_entropy_dw(const Node&, const TrainWorker&);

// Experts (train_moe.cc): what they do, and the floats of a thread's scratch, the floats that all threads share, and
// the bytes of products that a node needs.
void train_moe_route(const Node&, const TrainWorker&);
void train_moe_route_dx(const Node&, const TrainWorker&);
void train_moe_gated(const Node&, const TrainWorker&);
void train_moe_gated_dx(const Node&, const TrainWorker&);
void train_moe_gated_dw(const Node&, const TrainWorker&);
void train_moe_down(const Node&, const TrainWorker&);
void train_moe_down_dx(const Node&, const TrainWorker&);
void train_moe_down_dw(const Node&, const TrainWorker&);
uint64_t train_moe_scratch(const Graph& graph, const Node& node);
uint64_t train_moe_shared(const Graph& graph, const Node& node, uint32_t rows);
uint64_t train_moe_products(const Graph& graph, const Node& node, const TrainOptions& options);

}  // namespace vibee
