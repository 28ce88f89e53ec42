// SPDX-License-Identifier: Apache-2.0
// What adapters add to products. The rows of a sequence that has one are computed alone, whatever else is in the step,
// and those of a sequence without one are left as they are.
#include <algorithm>
#include <cstring>

#include "vibee/graph/exec/row_calls.h"

namespace vibee {
namespace {

/// Calls f(weights, first row, rows) for the sequences whose adapter changes the call's product, cut to `rows`.
template <class F>
void each_adapted(const Call& c, const Worker& w, Range rows, F&& f) {
  for (const SequenceRows& s : w.batch.sequences) {
    if (s.lora == nullptr || s.lora[c.target].rank == 0) continue;
    const uint32_t first = std::max(s.row, rows.begin), end = std::min(s.row + s.rows, rows.end);
    if (first < end) f(s.lora[c.target], first, end - first);
  }
}

void add_up(const Call& c, const Worker& w, ValueId down, Range columns, float* y) {
  const float* h = w.plan.pointer<float>(down, w.tid, w.small);
  if (columns.begin >= columns.end) return;
  each_adapted(c, w, {0, uint32_t(w.sizes.t)}, [&](const LoraWeights& l, uint32_t first, uint32_t rows) {
    c.pw->lora_up(h + uint64_t(first) * c.norm_width, rows, c.norm_width, l.rank, l.b + columns.begin, c.width,
                  columns.end - columns.begin, y + uint64_t(first) * c.width + columns.begin, c.width);
  });
}

}  // namespace

void run_lora_down(const Call& c, Worker& w) {
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* h = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  each_adapted(c, w, w.rows(uint32_t(w.sizes.t)), [&](const LoraWeights& l, uint32_t first, uint32_t rows) {
    c.pw->lora_down(x + uint64_t(first) * c.norm_width, rows, c.norm_width, l.a, l.rank, l.scale,
                    h + uint64_t(first) * c.width, c.width);
  });
}

void run_lora_up(const Call& c, Worker& w) {
  const Range blocks = share((c.width + 15) / 16, w.tid, w.threads);
  const Range columns{blocks.begin * 16, std::min(blocks.end * 16, c.width)};
  const float* x = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  float* y = w.plan.pointer<float>(c.out[0], w.tid, w.small);
  if (x != y && columns.begin < columns.end)
    for (uint32_t r = 0; r < uint32_t(w.sizes.t); ++r)
      std::memcpy(y + uint64_t(r) * c.width + columns.begin, x + uint64_t(r) * c.width + columns.begin,
                  (columns.end - columns.begin) * 4);
  add_up(c, w, c.in[1], columns, y);
}

void run_linear_lora(const Call& c, Worker& w) {
  run_linear(c, w);
  const PackedWeight& weight = *c.weight[0];
  const Range panels = share(weight.panels(), w.tid, w.threads);
  add_up(c, w, c.in[2], {panels.begin * weight.nr, std::min(panels.end * weight.nr, weight.n)},
         w.plan.pointer<float>(c.out[0], w.tid, w.small));
}

}  // namespace vibee
