// SPDX-License-Identifier: Apache-2.0
// Attention over the batch: work items are (sequence, rows of a tile, KV head), dealt to the threads in turn. When
// there are few items and long contexts (v1691, first part: split-KV decoding), threads share the splits of an item and
// the owner folds them, in the same order: the bytes do not change.
#include <cstring>

#include "vibee/graph/exec/row_calls.h"

namespace vibee {
namespace {

struct Item {
  const SequenceRows* sequence;
  uint32_t row, rows, kv_head;  ///< row inside the sequence
};

/// Calls f(index, item) for every item of the step, in order.
template <class F>
void each_item(const Call& c, const RaggedBatch& batch, F&& f) {
  const uint32_t most = c.attention->tile / c.shape.group();
  uint32_t index = 0;
  for (const SequenceRows& s : batch.sequences)
    for (uint32_t row = 0; row < s.rows; row += most)
      for (uint32_t h = 0; h < c.shape.kv_heads; ++h)
        f(index++, Item{&s, row, s.rows - row < most ? s.rows - row : most, h});
}

QueryTile query(const Call& c, const Worker& w, const Item& item) {
  const float* q = w.plan.pointer<float>(c.in[0], w.tid, w.small);
  const uint32_t width = c.shape.heads * c.shape.head_dim;
  return {q + uint64_t(item.sequence->row + item.row) * width,
          width,
          item.rows,
          item.sequence->first + item.row,
          item.kv_head,
          item.sequence->pages};
}

void write(const Call& c, Worker& w, const Item& item, const FoldState* state) {
  const uint32_t d = c.shape.head_dim, group = c.shape.group(), width = c.shape.heads * d;
  alignas(64) float out[kMaxHeadDim];
  for (uint32_t i = 0; i < item.rows * group; ++i) {
    const uint32_t row = item.sequence->row + item.row + i / group, column = (item.kv_head * group + i % group) * d;
    if (!c.quantized) {
      c.attention->finish(d, state[i],
                          w.plan.pointer<float>(c.out[0], w.tid, w.small) + uint64_t(row) * width + column);
      continue;
    }
    c.attention->finish(d, state[i], out);
    const ActRow r = act_row(w.plan.pointer<uint8_t>(c.out[0], w.tid, w.small), uint32_t(w.sizes.t), width, row);
    for (uint32_t b = 0; b < d / kActBlock; ++b) {
      const uint32_t block = column / kActBlock + b;
      c.pw->quantize_block(out + b * kActBlock, r.q(block), r.da(block), r.das(block), r.ns(block), r.ns0(block));
    }
  }
}

}  // namespace

void run_attention(const Call& c, Worker& w) {
  const KvView& kv = w.kv[c.layer];
  const uint32_t group = c.shape.group();
  FoldState part[kMaxQueryTile], state[kMaxQueryTile];
  uint32_t items = 0, most_splits = 1;
  bool single_rows = true;
  each_item(c, w.batch, [&](uint32_t, const Item& item) {
    ++items;
    single_rows &= item.rows == 1;
    const SplitRange range = visible_splits(c.shape.window, item.sequence->first + item.row, item.rows);
    if (range.end - range.begin > most_splits) most_splits = range.end - range.begin;
  });
  const bool shared = w.threads > 1 && single_rows && items <= w.plan.parts_items() && most_splits > 1;
  if (!shared) {
    each_item(c, w.batch, [&](uint32_t index, const Item& item) {
      if (index % w.threads != w.tid) return;
      attend(*c.attention, c.shape, kv, query(c, w, item), part, state);
      write(c, w, item, state);
    });
    return;
  }
  const uint32_t stride = (w.plan.options().max_context + kSplitKeys - 1) / kSplitKeys;
  uint32_t unit = 0;
  each_item(c, w.batch, [&](uint32_t index, const Item& item) {
    const SplitRange range = visible_splits(c.shape.window, item.sequence->first + item.row, item.rows);
    for (uint32_t split = range.begin; split < range.end; ++split, ++unit)
      if (unit % w.threads == w.tid)
        c.attention->split(c.shape, kv, query(c, w, item), split,
                           w.plan.parts() + (uint64_t(index) * stride + split) * group);
  });
  w.team.barrier();
  each_item(c, w.batch, [&](uint32_t index, const Item& item) {
    if (index % w.threads != w.tid) return;
    const SplitRange range = visible_splits(c.shape.window, item.sequence->first + item.row, item.rows);
    for (uint32_t i = 0; i < group; ++i) {
      state[i].m = -__builtin_inff();
      state[i].l = 0;
      std::memset(state[i].o, 0, c.shape.head_dim * sizeof(float));
      for (uint32_t split = range.begin; split < range.end; ++split)
        c.attention->fold(c.shape.head_dim, w.plan.parts()[(uint64_t(index) * stride + split) * group + i], &state[i]);
    }
    write(c, w, item, state);
  });
}

}  // namespace vibee
