// SPDX-License-Identifier: Apache-2.0
// A step over a stored sequence (attention_cases.h) as the device's kernels get it, and its launches under the shim.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/kernels/attention/attention_cases.h"
#include "vibee/kernels/attention/split_items.h"
#include "vibee/kit/block_trial.h"

namespace vibee {

/// Rows [first, first + rows) of a stored sequence as a step, what its kernels write, and the launches.
struct AttentionTrial {
  const StoredSequence& of;
  uint32_t tile;
  SplitItems items;
  TrialArray<SplitItem> item_array;
  TrialArray<uint32_t> row_parts, pages;
  TrialArray<float> sums, values;

  template <class T>
  static TrialArray<T> copy(const std::vector<T>& from) {
    TrialArray<T> to(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[i] = from[i];
    return to;
  }
  static SplitItems divide(const StoredSequence& of, uint32_t first, uint32_t rows, uint32_t tile) {
    const SequenceRows s{0, rows, first, of.pages.data()};
    return split_items(of.shape, std::span(&s, 1), tile);
  }
  AttentionTrial(const StoredSequence& of, uint32_t first, uint32_t rows, uint32_t tile)
      : of(of),
        tile(tile),
        items(divide(of, first, rows, tile)),
        item_array(copy(items.items)),
        row_parts(copy(items.row_parts)),
        pages(copy(items.pages)),
        sums(uint64_t(items.parts()) * of.c.heads * 2),
        values(uint64_t(items.parts()) * of.c.heads * of.c.head_dim) {}

  template <class In>
  AttentionArgs args(const In* q) {
    return {q,
            of.store.data(),
            pages.data(),
            item_array.data(),
            row_parts.data(),
            sums.data(),
            values.data(),
            of.view.page_bytes,
            of.c.heads,
            of.c.kv_heads,
            of.c.head_dim,
            of.c.window,
            of.c.causal,
            of.shape.scale,
            of.shape.soft_cap};
  }
  ShimMemory store() const { return {of.store.data(), of.store.size() - kKvSlack}; }

  /// out[row][head][head_dim] of the rows, by a kernel of splits and the fold.
  template <class Out, class In>
  TrialArray<Out> run(std::string_view kernel, const LaunchShape& shape, const TrialArray<In>& q) {
    TrialArray<Out> out(q.size());
    Status status = run_kernel(kernel, shape, args(q.data()),
                               {q.memory(), store(), item_array.memory(), row_parts.memory(), pages.memory()},
                               {sums.memory(), values.memory()});
    EXPECT_TRUE(status.ok()) << status.message();
    const uint32_t rows = uint32_t(row_parts.size()) - 1;
    status = run_kernel(
        fmt::format("vibee_attention_fold_{}", TrialType<Out>::name), attention_fold_launch(rows, of.c.heads),
        AttentionFoldArgs{row_parts.data(), sums.data(), values.data(), out.data(), rows, of.c.heads, of.c.head_dim},
        {row_parts.memory(), sums.memory(), values.memory()}, {out.memory()});
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }
  template <class Out, class In>
  TrialArray<Out> run_product(const TrialArray<In>& q) {
    const uint32_t d = of.c.head_dim;
    return run<Out>(fmt::format("vibee_attention_product_{}_{}", TrialType<In>::name,
                                d <= 64    ? 64
                                : d <= 128 ? 128
                                           : 256),
                    attention_product_launch(uint32_t(items.items.size()), d), q);
  }
  template <class Out, class In>
  TrialArray<Out> run_split(const TrialArray<In>& q, const char* kv) {
    return run<Out>(fmt::format("vibee_attention_split_{}_{}", TrialType<In>::name, kv),
                    attention_split_launch(uint32_t(items.items.size())), q);
  }
};

template <class T>
TrialArray<T> trial_queries(const StoredSequence& of, uint32_t first, uint32_t rows) {
  const uint64_t width = uint64_t(of.c.heads) * of.c.head_dim;
  TrialArray<T> q(rows * width);
  for (uint64_t i = 0; i < q.size(); ++i) q[i] = TrialType<T>::from(of.q[first * width + i]);
  return q;
}

/// Rows of every case that end its sequence: enough for several tiles and both sides of a split.
inline uint32_t last_rows(const AttentionCase& c) {
  return c.causal ? std::min(c.length, c.length % 13 + 3) : c.length;
}

/// NaN where nothing is stored of a sequence.
inline void poison(StoredSequence& s) {
  const uint32_t end = s.c.length, size = s.view.layout.format == KvFormat::f32 ? 4 : 2, parts = s.c.head_dim / 32;
  const bool bytes = s.view.layout.format == KvFormat::q8_0;  // of which the scales can be no numbers
  for (uint32_t p = end; p < s.pages.size() * kPageTokens; ++p)
    for (uint32_t h = 0; h < s.c.kv_heads; ++h)
      for (uint32_t i = 0; i < s.c.head_dim; ++i) {
        const uint32_t page = s.pages[p / kPageTokens], lane = p % kPageTokens;
        if (bytes) {
          std::memset(s.view.key(page, h) + (i / 32 * kPageTokens + lane) * 2, 0x7f, 2);
          std::memset(s.view.value(page, h) + (lane * parts + i / 32) * 2, 0x7f, 2);
          continue;
        }
        std::memset(s.view.key(page, h) + (i * kPageTokens + lane) * size, 0x7f, size);
        std::memset(s.view.value(page, h) + (lane * s.c.head_dim + i) * size, 0x7f, size);
        if (size == 4) {
          const float nan = NAN;
          std::memcpy(s.view.key(page, h) + (i * kPageTokens + lane) * size, &nan, 4);
          std::memcpy(s.view.value(page, h) + (lane * s.c.head_dim + i) * size, &nan, 4);
        }
      }
}

}  // namespace vibee
