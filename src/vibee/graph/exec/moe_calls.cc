// SPDX-License-Identifier: Apache-2.0
// Mixture of experts (Shazeer et al. 2017, arXiv:1701.06538; Mixtral, arXiv:2401.04088): the router chooses k experts a
// row; each expert multiplies the rows that chose it together (grouped matmul). A thread owns output columns of every
// expert and adds experts in ascending order, so bytes depend neither on threads nor on the rows beside.
#include <algorithm>
#include <cstring>

#include "vibee/base/math/exp2.h"
#include "vibee/graph/exec/row_calls.h"

namespace vibee {
namespace {

/// `rows` float rows of width k as the input of a product, quantised into the thread's memory where the weight wants
/// it.
RowsInput input_of(const Call& c, const Worker& w, const float* x, uint32_t rows, uint32_t k) {
  if (!c.quantizes_rows) return float_input(w, x, rows);
  uint8_t* act = w.plan.quantized_rows(w.tid);
  for (uint32_t r = 0; r < rows; ++r) quantize_row(c, w, x + uint64_t(r) * k, k, act, rows, r);
  return quantized_input(c, w, act, rows, k);
}

/// A row and which of its k experts.
struct Choice {
  uint32_t row, slot;
};

/// Calls f(expert, choices) for every expert that rows chose, at most kExpertRows rows at a time.
template <class F>
void each_expert(const Call& c, const Worker& w, uint32_t rows, F&& f) {
  const float* route = w.plan.pointer<float>(c.in[1], w.tid, w.small);
  Choice chosen[kExpertRows];
  for (uint32_t e = 0; e < c.weight[0]->experts; ++e) {
    uint32_t n = 0;
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t j = 0; j < c.chosen; ++j) {
        if (route[uint64_t(r) * 2 * c.chosen + j] != float(e)) continue;
        chosen[n++] = {r, j};
        if (n == kExpertRows) {
          f(e, std::span<const Choice>(chosen, n));
          n = 0;
        }
      }
    if (n > 0) f(e, std::span<const Choice>(chosen, n));
  }
}

/// The choice of rows first .. first + n.
void route_rows(const Call& c, Worker& w, uint32_t first, uint32_t n) {
  const PackedWeight& router = *c.weight[0];
  const uint32_t experts = router.n, k = router.k;
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small) + uint64_t(first) * k;
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  float* logits = w.plan.gathered_rows(w.tid);
  matmul(*c.gemm[0], router, input_of(c, w, x, n, k), 0, router.panels(),
         [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
           const uint32_t column = panel * router.nr, count = std::min(router.nr, experts - column);
           for (uint32_t i = 0; i < m; ++i)
             std::memcpy(&logits[uint64_t(row + i) * experts + column], tile + i * router.nr, count * 4);
         });
  for (uint32_t r = 0; r < n; ++r) {
    float* mine = &logits[uint64_t(r) * experts];
    float* ids = out + uint64_t(first + r) * 2 * c.chosen;
    float* weights = ids + c.chosen;
    const float top = c.pw->max(mine, experts), all = c.pw->sum_exp(mine, experts, top);
    float sum = 0;
    for (uint32_t j = 0; j < c.chosen; ++j) {
      const uint32_t best = c.pw->argmax(mine, experts);
      ids[j] = float(best);
      weights[j] = exp_fixed(mine[best] - top);
      sum += weights[j];
      mine[best] = -INFINITY;
    }
    for (uint32_t j = 0; j < c.chosen; ++j) weights[j] /= c.normalise ? sum : all;
  }
}

}  // namespace

void run_moe_route(const Call& c, Worker& w) {
  const Range rows = w.rows(w.plan.rows_of(c.out[0], w.sizes));
  for (uint32_t first = rows.begin; first < rows.end; first += kExpertRows)
    route_rows(c, w, first, std::min(kExpertRows, rows.end - first));
}

void run_moe_gated(const Call& c, Worker& w) {
  const PackedWeight &gates = *c.weight[0], &ups = *c.weight[1];
  const uint32_t k = gates.k, n = gates.n, rows = w.plan.rows_of(c.in[0], w.sizes);
  const Range panels = share(gates.panels(), w.tid, w.threads);
  if (panels.begin == panels.end) return;
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  float* gathered = w.plan.gathered_rows(w.tid);
  each_expert(c, w, rows, [&](uint32_t e, std::span<const Choice> chosen) {
    for (size_t i = 0; i < chosen.size(); ++i) std::memcpy(gathered + i * k, x + uint64_t(chosen[i].row) * k, k * 4);
    const RowsInput in = input_of(c, w, gathered, uint32_t(chosen.size()), k);
    const auto place = [&](uint32_t row) {
      return out + (uint64_t(chosen[row].row) * c.chosen + chosen[row].slot) * n;
    };
    matmul(*c.gemm[0], gates.expert(e), in, panels.begin, panels.end,
           [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
             const uint32_t at = panel * gates.nr, count = std::min(gates.nr, n - at);
             for (uint32_t i = 0; i < m; ++i) std::memcpy(place(row + i) + at, tile + i * gates.nr, count * 4);
           });
    matmul(*c.gemm[1], ups.expert(e), in, panels.begin, panels.end,
           [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
             const uint32_t at = panel * ups.nr, count = std::min(ups.nr, n - at);
             for (uint32_t i = 0; i < m; ++i) {
               float* to = place(row + i) + at;
               c.pw->gated(c.gate, to, tile + i * ups.nr, count, to);
             }
           });
  });
}

void run_moe_down(const Call& c, Worker& w) {
  const PackedWeight& downs = *c.weight[0];
  const uint32_t k = downs.k, n = downs.n, rows = w.plan.rows_of(c.in[0], w.sizes);
  const Range panels = share(downs.panels(), w.tid, w.threads);
  if (panels.begin == panels.end) return;
  const uint32_t first = panels.begin * downs.nr, last = std::min(panels.end * downs.nr, n);
  const float* h = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  const float* route = w.plan.pointer<float>(c.in[1], w.tid, w.small);
  float* out = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  float* gathered = w.plan.gathered_rows(w.tid);
  for (uint32_t r = 0; r < rows; ++r) std::memset(out + uint64_t(r) * n + first, 0, (last - first) * 4);
  each_expert(c, w, rows, [&](uint32_t e, std::span<const Choice> chosen) {
    for (size_t i = 0; i < chosen.size(); ++i)
      std::memcpy(gathered + i * k, h + (uint64_t(chosen[i].row) * c.chosen + chosen[i].slot) * k, k * 4);
    matmul(*c.gemm[0], downs.expert(e), input_of(c, w, gathered, uint32_t(chosen.size()), k), panels.begin, panels.end,
           [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
             const uint32_t at = panel * downs.nr, count = std::min(downs.nr, n - at);
             for (uint32_t i = 0; i < m; ++i) {
               const Choice& choice = chosen[row + i];
               const float weight = route[(uint64_t(choice.row) * 2 + 1) * c.chosen + choice.slot];
               float* to = out + uint64_t(choice.row) * n + at;
               for (uint32_t j = 0; j < count; ++j) to[j] += weight * tile[i * downs.nr + j];
             }
           });
  });
}

}  // namespace vibee
