// SPDX-License-Identifier: Apache-2.0
// Mixture of experts in training. A row and one of the experts that it chose are a pair; pairs are sorted by expert,
// rows ascending, and what an expert multiplies is one group of a grouped product. Every element of a product, and of a
// gradient towards a weight, is one chain over its depth, as inference has it. What the choices of a row give is added
// in ascending order of experts, as inference does.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/exp2.h"
#include "vibee/base/memory/checked.h"
#include "vibee/graph/exec/train_call.h"

namespace vibee {
namespace {

struct Choices {
  const float* route;  ///< of a row: ids, weights
  uint32_t count;
  uint32_t expert(uint32_t j) const { return uint32_t(route[j]); }
  float weight(uint32_t j) const { return route[count + j]; }
};
Choices choices(const TrainCall& c, uint32_t row) {
  const auto k = uint32_t(c.node.integer("k"));
  return {c.in(1) + uint64_t(row) * 2 * k, k};
}

/// Floats a pair that an op of experts [E][n][k] holds at once: rows of length k and of length n.
struct PairFloats {
  uint32_t of_k, of_n;
};
PairFloats pair_floats(Op op) {
  if (op == Op::moe_gated_dx) return {2, 2};
  return op == Op::moe_gated || op == Op::moe_gated_dw ? PairFloats{1, 2} : PairFloats{1, 1};
}
/// Floats that the numbers of pairs and experts take, in whole cache lines.
uint64_t numbers(uint64_t pairs, uint64_t experts) { return round_up(2 * (pairs + experts), 16); }
bool is_expert_op(Op op) { return op != Op::moe_route && op != Op::moe_route_dx; }

/// A step's pairs in the memory that all threads share.
class Pairs {
 public:
  Pairs(const Node& node, const TrainWorker& w)
      : c{node, w},
        chosen(uint32_t(node.integer("k"))),
        pairs(w.rows * chosen),
        experts(uint32_t(c.in_type(2).dims[0].n)),
        n(uint32_t(c.in_type(2).dims[1].n)),
        k(uint32_t(c.in_type(2).dims[2].n)),
        sorted_(reinterpret_cast<uint32_t*>(w.plan.shared())),
        slot_(sorted_ + pairs),
        counts_(slot_ + pairs),
        next_(counts_ + experts),
        floats_(w.plan.shared() + numbers(pairs, experts)) {}

  /// Sorts pairs by expert, stably; all threads meet behind it.
  void sort() {
    if (c.w.tid == 0) {
      std::fill_n(counts_, experts, 0);
      const auto each = [&](auto&& f) {
        for (uint32_t r = 0; r < c.w.rows; ++r)
          for (uint32_t j = 0; j < chosen; ++j) f(r * chosen + j, choices(c, r).expert(j));
      };
      each([&](uint32_t, uint32_t expert) { ++counts_[expert]; });
      next_[0] = 0;
      for (uint32_t e = 1; e < experts; ++e) next_[e] = next_[e - 1] + counts_[e - 1];
      each([&](uint32_t pair, uint32_t expert) {
        slot_[pair] = next_[expert]++;
        sorted_[slot_[pair]] = pair;
      });
    }
    c.w.team.barrier();
  }
  std::span<const uint32_t> groups() const { return {counts_, experts}; }
  /// The i-th array of rows of length k, of length n, a row a pair in the order of experts.
  float* rows_of_n(uint32_t i) const { return floats_ + uint64_t(i) * pairs * n; }
  float* rows_of_k(uint32_t i) const { return rows_of_n(pair_floats(c.node.op).of_n) + uint64_t(i) * pairs * k; }

  /// f(slot, row of the step, choice) for this thread's pairs, in the order of experts.
  template <class F>
  void each(F&& f) const {
    const Range mine = c.w.share_of(pairs);
    for (uint32_t s = mine.begin; s < mine.end; ++s) f(s, sorted_[s] / chosen, sorted_[s] % chosen);
  }
  /// f(slot, choice) for the choices of a row, experts ascending.
  template <class F>
  void each_of_row(uint32_t row, F&& f) const {
    int64_t before = -1;
    for (uint32_t turn = 0; turn < chosen; ++turn) {
      uint32_t best = chosen;
      for (uint32_t j = 0; j < chosen; ++j) {
        const uint32_t slot = slot_[row * chosen + j];
        if (slot > before && (best == chosen || slot < slot_[row * chosen + best])) best = j;
      }
      before = slot_[row * chosen + best];
      f(uint32_t(before), best);
    }
  }
  /// Row `row` of input i, `width` wide, as floats.
  void read(size_t i, uint64_t row, uint32_t width, float* to) const {
    if (!is_packed(c.in_type(i))) {
      std::memcpy(to, c.in(i) + row * width, width * 4);
      return;
    }
    c.widen(i, row * width, width, to);
  }
  /// The rows of input i that the experts read, of the step or (`pairwise`) a pair.
  void gather(size_t i, bool pairwise, uint32_t width, float* to) const {
    each([&](uint32_t slot, uint32_t row, uint32_t j) {
      read(i, pairwise ? uint64_t(row) * chosen + j : row, width, to + uint64_t(slot) * width);
    });
  }
  /// y = x W^T and y = g W of every pair, by weight input i.
  void times(size_t i, const float* x, float* y) const {
    grouped_product(c.w, GemmGroups::rows, groups(), {x, k}, c.rows_of(i).transpose(), pairs, n, k, y);
  }
  void back(size_t i, const float* g, float* y, bool goes_on = false) const {
    grouped_product(c.w, GemmGroups::rows, groups(), {g, n}, c.rows_of(i), pairs, k, n, y, goes_on);
  }
  /// dW[e] = g^T x over the pairs of each expert.
  void outer(const float* g, const float* x, float* dw) const {
    grouped_product(c.w, GemmGroups::depth, groups(), {g, n, true}, {x, k}, n, k, pairs, dw);
  }

  TrainCall c;
  uint32_t chosen, pairs, experts, n, k;

 private:
  uint32_t *sorted_, *slot_;  ///< pair of a slot, slot of a pair
  uint32_t *counts_, *next_;  ///< pairs of an expert, slot of its next one
  float* floats_;
};

/// Gradients towards the two products of a gated unit, in the places of a and b; input 4 is that of its result.
void gated_slopes(const Pairs& p, float* a, float* b) {
  const TrainWorker& w = p.c.w;
  const Gate kind = gate_named(p.c.node.text("gate"));
  auto* gate = reinterpret_cast<float*>(w.plan.scratch(w.tid));
  p.each([&](uint32_t slot, uint32_t row, uint32_t j) {
    const float* g = p.c.in(4) + (uint64_t(row) * p.chosen + j) * p.n;
    float *da = a + uint64_t(slot) * p.n, *db = b + uint64_t(slot) * p.n;
    w.pointwise.activate(kind, da, p.n, gate);
    w.gradients.mul(g, db, p.n, db);
    w.gradients.activation_dx(kind, da, db, p.n, da);
    w.gradients.mul(g, gate, p.n, db);
  });
}

/// What both gradients of a gated unit start from: its rows in the order of experts, and the gradients towards its two
/// products. All threads meet behind it.
void begin_gated_gradient(Pairs& p) {
  p.sort();
  p.gather(0, false, p.k, p.rows_of_k(0));
  p.c.w.team.barrier();
  p.times(2, p.rows_of_k(0), p.rows_of_n(0));
  p.times(3, p.rows_of_k(0), p.rows_of_n(1));
  p.c.w.team.barrier();
  gated_slopes(p, p.rows_of_n(0), p.rows_of_n(1));
  p.c.w.team.barrier();
}

}  // namespace

uint64_t train_moe_scratch(const Graph& g, const Node& node) {
  if (node.op == Op::moe_down_dx) return uint64_t(g.type(node.in[2]).dims[2].n);
  const bool slopes = node.op == Op::moe_gated_dx || node.op == Op::moe_gated_dw;
  return slopes ? uint64_t(g.type(node.in[2]).dims[1].n) : 0;
}

uint64_t train_moe_shared(const Graph& g, const Node& node, uint32_t rows) {
  if (node.op == Op::moe_route) return uint64_t(rows) * uint64_t(g.type(node.in[1]).dims[0].n);
  if (!is_expert_op(node.op)) return 0;
  const auto& dims = g.type(node.in[2]).dims;
  const PairFloats floats = pair_floats(node.op);
  const uint64_t pairs = uint64_t(rows) * uint64_t(node.integer("k"));
  return numbers(pairs, uint64_t(dims[0].n)) +
         pairs * (floats.of_n * uint64_t(dims[1].n) + floats.of_k * uint64_t(dims[2].n));
}

uint64_t train_moe_products(const Graph& g, const Node& node, const TrainOptions& o) {
  if (node.op == Op::moe_route) {
    const auto& router = g.type(node.in[1]).dims;
    return dense_workspace(o.max_rows, uint32_t(router[0].n), uint32_t(router[1].n), o);
  }
  if (!is_expert_op(node.op)) return 0;
  const auto& dims = g.type(node.in[2]).dims;
  const auto experts = uint32_t(dims[0].n), n = uint32_t(dims[1].n), k = uint32_t(dims[2].n),
             pairs = uint32_t(o.max_rows * node.integer("k"));
  const uint64_t times = grouped_workspace(GemmGroups::rows, experts, pairs, n, k, o),
                 back = grouped_workspace(GemmGroups::rows, experts, pairs, k, n, o),
                 outer = grouped_workspace(GemmGroups::depth, experts, n, k, pairs, o);
  return std::max({times, back, outer});
}

void train_moe_route(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto experts = uint32_t(c.in_type(1).dims[0].n), k = uint32_t(c.in_type(1).dims[1].n);
  const auto chosen = uint32_t(node.integer("k"));
  dense_product(w, c.rows_of(0), c.rows_of(1).transpose(), w.rows, experts, k, w.plan.shared(), experts);
  w.team.barrier();
  c.each_row([&](uint32_t r, uint64_t at) {
    float* logits = w.plan.shared() + uint64_t(r) * experts;
    float *ids = c.out() + at, *weights = ids + chosen, sum = 0;
    const float top = w.pointwise.max(logits, experts), all = w.pointwise.sum_exp(logits, experts, top);
    for (uint32_t j = 0; j < chosen; ++j) {
      const uint32_t best = w.pointwise.argmax(logits, experts);
      ids[j] = float(best);
      weights[j] = exp_fixed(logits[best] - top);
      sum += weights[j];
      logits[best] = -INFINITY;
    }
    for (uint32_t j = 0; j < chosen; ++j) weights[j] /= node.integer("normalise") != 0 ? sum : all;
  });
}

void train_moe_route_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const bool normalise = node.integer("normalise") != 0;
  c.each_row([&](uint32_t r, uint64_t at) {
    const Choices chosen = choices(c, r);
    const float *x = c.in(0) + at, *g = c.in(2) + uint64_t(r) * 2 * chosen.count + chosen.count;
    float *out = c.out() + at, along = 0;
    for (uint32_t j = 0; j < chosen.count; ++j) along = std::fma(chosen.weight(j), g[j], along);
    const float top = normalise ? 0 : w.pointwise.max(x, c.width()),
                all = normalise ? 1 : w.pointwise.sum_exp(x, c.width(), top);
    for (uint32_t e = 0; e < c.width(); ++e) out[e] = normalise ? 0.0f : -(exp_fixed(x[e] - top) / all) * along;
    for (uint32_t j = 0; j < chosen.count; ++j)
      out[chosen.expert(j)] += chosen.weight(j) * (normalise ? g[j] - along : g[j]);
  });
}

void train_moe_gated(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  p.sort();
  float *x = p.rows_of_k(0), *a = p.rows_of_n(0), *b = p.rows_of_n(1);
  p.gather(0, false, p.k, x);
  w.team.barrier();
  p.times(2, x, a);
  p.times(3, x, b);
  w.team.barrier();
  p.each([&](uint32_t slot, uint32_t row, uint32_t j) {
    const uint64_t at = uint64_t(slot) * p.n;
    w.pointwise.gated(gate_named(node.text("gate")), a + at, b + at, p.n,
                      p.c.out() + (uint64_t(row) * p.chosen + j) * p.n);
  });
}

/// Of a choice one chain: gate's gradient, then up's.
void train_moe_gated_dx(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  begin_gated_gradient(p);
  float* y = p.rows_of_k(1);
  p.back(2, p.rows_of_n(0), y);
  w.team.barrier();
  p.back(3, p.rows_of_n(1), y, true);
  w.team.barrier();
  p.c.each_row([&](uint32_t r, uint64_t at) {
    float* out = p.c.out() + at;
    bool first = true;
    p.each_of_row(r, [&](uint32_t slot, uint32_t) {
      const float* from = y + uint64_t(slot) * p.k;
      if (first)
        std::memcpy(out, from, p.k * 4);
      else
        w.pointwise.add(out, from, p.k, out);
      first = false;
    });
  });
}

void train_moe_gated_dw(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  if (!w.plan.goes_on(node)) begin_gated_gradient(p);
  p.outer(p.rows_of_n(0), p.rows_of_k(0), p.c.out(0));
  p.outer(p.rows_of_n(1), p.rows_of_k(0), p.c.out(1));
}

void train_moe_down(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  p.sort();
  float *x = p.rows_of_k(0), *y = p.rows_of_n(0);
  p.gather(0, true, p.k, x);
  w.team.barrier();
  p.times(2, x, y);
  w.team.barrier();
  p.c.each_row([&](uint32_t r, uint64_t at) {
    float* out = p.c.out() + at;
    std::memset(out, 0, p.n * 4);
    const Choices chosen = choices(p.c, r);
    p.each_of_row(r, [&](uint32_t slot, uint32_t j) {
      const float *from = y + uint64_t(slot) * p.n, by = chosen.weight(j);
      for (uint32_t i = 0; i < p.n; ++i) out[i] += by * from[i];
    });
  });
}

/// The gradient towards a choice's weight is that of its result times what the expert gives, g (W x) = (g W) x.
void train_moe_down_dx(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  p.sort();
  float *g = p.rows_of_n(0), *dx = p.rows_of_k(0);
  auto* const x = reinterpret_cast<float*>(w.plan.scratch(w.tid));
  p.gather(3, false, p.n, g);
  w.team.barrier();
  p.back(2, g, dx);
  w.team.barrier();
  p.each([&](uint32_t slot, uint32_t row, uint32_t j) {
    const uint64_t pair = uint64_t(row) * p.chosen + j;
    const float* from = dx + uint64_t(slot) * p.k;
    float* route = p.c.out(1) + uint64_t(row) * 2 * p.chosen;
    p.read(0, pair, p.k, x);
    float along = 0;
    for (uint32_t i = 0; i < p.k; ++i) along = std::fma(x[i], from[i], along);
    route[j] = 0;
    route[p.chosen + j] = along;
    w.pointwise.scale(from, choices(p.c, row).weight(j), p.k, p.c.out() + pair * p.k);
  });
}

void train_moe_down_dw(const Node& node, const TrainWorker& w) {
  Pairs p(node, w);
  p.sort();
  float *g = p.rows_of_n(0), *x = p.rows_of_k(0);
  p.gather(0, true, p.k, x);
  p.each([&](uint32_t slot, uint32_t row, uint32_t j) {
    w.pointwise.scale(p.c.in(3) + uint64_t(row) * p.n, choices(p.c, row).weight(j), p.n, g + uint64_t(slot) * p.n);
  });
  w.team.barrier();
  p.outer(g, x, p.c.out());
}

}  // namespace vibee
