// SPDX-License-Identifier: Apache-2.0
// Mixture of experts in training, row by row and choice by choice. Experts of a row are added in ascending order, as
// inference does; gradients towards weights are chains over ascending rows, of which a thread takes some columns.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/exp2.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/graph/exec/train_gemm.h"

namespace vibee {
namespace {

/// Experts [E][n][k].
struct Experts {
  uint32_t n, k;
  explicit Experts(const Type& type) : n(uint32_t(type.dims[1].n)), k(uint32_t(type.dims[2].n)) {}
  uint64_t at(uint32_t expert, uint32_t row = 0) const { return (uint64_t(expert) * n + row) * k; }
};

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
float* scratch(const TrainCall& c) { return reinterpret_cast<float*>(c.w.plan.scratch(c.w.tid)); }

/// y[columns] = x W^T, and y[k] (+)= g W: one row.
void times(const float* x, const float* weight, const Experts& e, Range columns, float* y) {
  row_product(x, {weight, e.k, true}, e.k, columns, y);
}
void back(const float* g, const float* weight, const Experts& e, float* y, bool add) {
  row_product(g, {weight, e.k}, e.n, {0, e.k}, y, add);
}
/// y += by x.
void add_row(float by, const float* x, uint32_t n, float* y) { row_product(&by, {x, n}, 1, {0, n}, y, true); }

/// Gradients towards the two products of a gated unit, columns of choice j of a row: a and b become da and db.
void gated_slopes(const TrainCall& c, const float* x, const float* g, uint64_t expert, const Experts& e, Range columns,
                  float* a, float* b, float* gate) {
  const uint32_t first = columns.begin, n = columns.end - columns.begin;
  const Gate kind = gate_named(c.node.text("gate"));
  times(x, c.in(2) + expert, e, columns, a);
  times(x, c.in(3) + expert, e, columns, b);
  c.w.pointwise.activate(kind, a + first, n, gate + first);
  c.w.gradients.mul(g + first, b + first, n, b + first);
  c.w.gradients.activation_dx(kind, a + first, b + first, n, a + first);
  c.w.gradients.mul(g + first, gate + first, n, b + first);
}

}  // namespace

uint64_t train_moe_scratch(const Graph& g, const Node& node) {
  if (node.op == Op::moe_route) return uint64_t(g.type(node.in[1]).dims[0].n);
  if (node.op == Op::moe_route_dx) return 0;
  const auto& dims = g.type(node.in[2]).dims;
  return 3 * uint64_t(std::max(dims[1].n, dims[2].n));
}

void train_moe_route(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const auto experts = uint32_t(c.in_type(1).dims[0].n), k = uint32_t(c.in_type(1).dims[1].n);
  const auto chosen = uint32_t(node.integer("k"));
  float* logits = scratch(c);
  c.each_row([&](uint32_t r, uint64_t at) {
    row_product(c.in(0) + uint64_t(r) * k, {c.in(1), k, true}, k, {0, experts}, logits);
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
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  c.each_row([&](uint32_t r, uint64_t at) {
    const Choices chosen = choices(c, r);
    const float* x = c.in(0) + uint64_t(r) * e.k;
    for (uint32_t j = 0; j < chosen.count; ++j) {
      float* y = c.out() + at + uint64_t(j) * e.n;
      times(x, c.in(2) + e.at(chosen.expert(j)), e, {0, e.n}, y);
      times(x, c.in(3) + e.at(chosen.expert(j)), e, {0, e.n}, scratch(c));
      w.pointwise.gated(gate_named(node.text("gate")), y, scratch(c), e.n, y);
    }
  });
}

void train_moe_gated_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  float *a = scratch(c), *b = a + e.n, *gate = b + e.n;
  c.each_row([&](uint32_t r, uint64_t at) {
    const Choices chosen = choices(c, r);
    for (uint32_t j = 0; j < chosen.count; ++j) {
      const uint64_t expert = e.at(chosen.expert(j));
      gated_slopes(c, c.in(0) + at, c.in(4) + (uint64_t(r) * chosen.count + j) * e.n, expert, e, {0, e.n}, a, b, gate);
      back(a, c.in(2) + expert, e, c.out() + at, j > 0);
      back(b, c.in(3) + expert, e, c.out() + at, true);
    }
  });
}

void train_moe_gated_dw(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  const Range mine = w.share_of(e.n);
  if (mine.begin == mine.end) return;
  for (uint32_t expert = 0; expert < uint32_t(c.in_type(2).dims[0].n); ++expert)
    for (size_t o = 0; o < 2; ++o)
      std::memset(c.out(o) + e.at(expert, mine.begin), 0, uint64_t(mine.end - mine.begin) * e.k * 4);
  float *a = scratch(c), *b = a + e.n, *gate = b + e.n;
  for (uint32_t r = 0; r < w.rows; ++r) {
    const Choices chosen = choices(c, r);
    const float* x = c.in(0) + uint64_t(r) * e.k;
    for (uint32_t j = 0; j < chosen.count; ++j) {
      const uint32_t expert = chosen.expert(j);
      gated_slopes(c, x, c.in(4) + (uint64_t(r) * chosen.count + j) * e.n, e.at(expert), e, mine, a, b, gate);
      for (uint32_t i = mine.begin; i < mine.end; ++i) {
        add_row(a[i], x, e.k, c.out(0) + e.at(expert, i));
        add_row(b[i], x, e.k, c.out(1) + e.at(expert, i));
      }
    }
  }
}

void train_moe_down(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  c.each_row([&](uint32_t r, uint64_t at) {
    const Choices chosen = choices(c, r);
    float* out = c.out() + at;
    std::memset(out, 0, e.n * 4);
    int64_t before = -1;  // the expert added last
    for (uint32_t turn = 0; turn < chosen.count; ++turn) {
      uint32_t j = chosen.count;
      for (uint32_t i = 0; i < chosen.count; ++i)
        if (chosen.expert(i) > before && (j == chosen.count || chosen.expert(i) < chosen.expert(j))) j = i;
      if (j == chosen.count) break;
      before = chosen.expert(j);
      times(c.in(0) + (uint64_t(r) * chosen.count + j) * e.k, c.in(2) + e.at(chosen.expert(j)), e, {0, e.n},
            scratch(c));
      for (uint32_t i = 0; i < e.n; ++i) out[i] += chosen.weight(j) * scratch(c)[i];
    }
  });
}

void train_moe_down_dx(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  c.each_row([&](uint32_t r, uint64_t at) {
    const Choices chosen = choices(c, r);
    const float* g = c.in(3) + uint64_t(r) * e.n;
    float* route = c.out(1) + uint64_t(r) * 2 * chosen.count;
    for (uint32_t j = 0; j < chosen.count; ++j) {
      const uint64_t row = at + uint64_t(j) * e.k;
      const float* weight = c.in(2) + e.at(chosen.expert(j));
      times(c.in(0) + row, weight, e, {0, e.n}, scratch(c));
      route[j] = 0;
      row_product(g, {scratch(c), 1}, e.n, {0, 1}, route + chosen.count + j);
      back(g, weight, e, c.out() + row, false);
      w.pointwise.scale(c.out() + row, chosen.weight(j), e.k, c.out() + row);
    }
  });
}

void train_moe_down_dw(const Node& node, const TrainWorker& w) {
  const TrainCall c{node, w};
  const Experts e(c.in_type(2));
  const Range mine = w.share_of(e.n);
  for (uint32_t expert = 0; expert < uint32_t(c.in_type(2).dims[0].n); ++expert)
    std::memset(c.out() + e.at(expert, mine.begin), 0, uint64_t(mine.end - mine.begin) * e.k * 4);
  for (uint32_t r = 0; r < w.rows; ++r) {
    const Choices chosen = choices(c, r);
    const float* g = c.in(3) + uint64_t(r) * e.n;
    for (uint32_t j = 0; j < chosen.count; ++j)
      for (uint32_t i = mine.begin; i < mine.end; ++i)
        add_row(chosen.weight(j) * g[i], c.in(0) + (uint64_t(r) * chosen.count + j) * e.k, e.k,
                c.out() + e.at(chosen.expert(j), i));
  }
}

}  // namespace vibee
