// SPDX-License-Identifier: Apache-2.0
// Block programs whose results are one chain each: reductions, rows that are added to rows of a table, pooling.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/pointwise/chains_launch.h"

namespace vibee {

VIBEE_BLOCK uint64_t reduced_place(const ReduceDims& dims, uint32_t i) {
  if (dims.count == 0) return 0;
  uint64_t at = 0;
  for (uint32_t d = dims.count; d-- > 1; i /= dims.size[d]) at += i % dims.size[d] * dims.stride[d];
  return at + i * dims.stride[0];
}

/// A thread a result. Where the terms of a result lie side by side, and not the results, a warp reads 32 terms of one
/// after the other of its 32 results into shared memory, from which each lane takes its own.
template <class Block>
VIBEE_BLOCK void reduce_block(Block& b, const ReduceArgs& args) {
  constexpr uint32_t kRow = kWarp + 1;
  const auto room = shared_array<float>(b, kReduceThreads / kWarp * kWarp * kRow);
  const uint32_t tile = b.warp() * kWarp * kRow;
  const uint32_t first_result = (b.block_x() * b.warps() + b.warp()) * kWarp, result = first_result + b.lane();
  const bool has = result < args.results;
  const uint64_t base = has ? reduced_place(args.kept, result) : 0;
  const auto side_by_side = [](const ReduceDims& dims) { return dims.count > 0 && dims.stride[dims.count - 1] == 1; };
  const bool along = side_by_side(args.reduced) && !side_by_side(args.kept);
  double all = args.largest ? -double(__builtin_huge_val()) : 0.0;
  const auto take = [&](double x) { all = !args.largest ? all + x : x > all ? x : all; };
  for (uint32_t first = 0; first < args.terms; first += kWarp) {
    const uint32_t left = args.terms - first, count = left < kWarp ? left : kWarp;
    if (along) {
      const uint32_t high = args.results - first_result;  // results of this warp, where it has any
      const uint64_t term = reduced_place(args.reduced, first + b.lane());
      for (uint32_t j = 0; j < kWarp && first_result < args.results && j < high; ++j)
        if (b.lane() < count)
          b.store(room, tile + j * kRow + b.lane(), b.load(args.x, reduced_place(args.kept, first_result + j) + term));
      b.sync_warp();
      for (uint32_t t = 0; t < count && has; ++t) take(b.load(room, tile + b.lane() * kRow + t));
      b.sync_warp();
    } else {
      for (uint32_t t = 0; t < count && has; ++t) take(b.load(args.x, base + reduced_place(args.reduced, first + t)));
    }
  }
  if (has) b.store(args.out, result, float(all));
}

/// Whether any thread of the block says so; `words` has a word a warp and may be used again at once.
template <class Block, class Words>
VIBEE_BLOCK bool block_any(Block& b, Words words, bool here) {
  const uint32_t lanes = b.ballot(here);
  if (b.lane() == 0) b.store(words, b.warp(), lanes);
  b.sync();
  uint32_t any = 0;
  for (uint32_t w = 0; w < b.warps(); ++w) any |= b.load(words, w);
  b.sync();
  return any != 0;
}

/// A block a row of x and columns of it. The first row that names an id adds all that do; blocks of the others end.
template <class Block>
VIBEE_BLOCK void scatter_block(Block& b, const ScatterArgs& args) {
  const auto words = shared_array<uint32_t>(b, kScatterThreads / kWarp);
  const uint32_t row = b.block_x(), n = args.n, column = b.block_y() * kScatterThreads * kScatterEach + b.thread();
  const int32_t id = b.load(args.ids, row);
  if (uint32_t(id) >= args.count) return;
  bool earlier = false;
  for (uint32_t r = b.thread(); r < row; r += b.threads()) earlier = earlier || b.load(args.ids, r) == id;
  if (block_any(b, words, earlier)) return;
  double sums[kScatterEach] = {};
  for (uint64_t first = row; first < args.m; first += b.threads()) {
    const uint64_t r = first + b.thread();
    const uint32_t lanes = b.ballot(r < args.m && b.load(args.ids, r) == id);
    if (b.lane() == 0) b.store(words, b.warp(), lanes);
    b.sync();
    for (uint32_t w = 0; w < b.warps(); ++w) {
      const uint32_t named = b.load(words, w);
      for (uint32_t t = 0; t < kWarp && named >> t != 0; ++t) {
        if ((named >> t & 1) == 0) continue;
        const uint64_t at = (first + w * kWarp + t) * n;
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kScatterEach; ++j)
          if (column + j * kScatterThreads < n)
            sums[j] = sums[j] + double(b.load(args.x, at + column + j * kScatterThreads));
      }
    }
    b.sync();
  }
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kScatterEach; ++j)
    if (column + j * kScatterThreads < n)
      b.store(args.out, uint64_t(uint32_t(id)) * n + column + j * kScatterThreads, float(sums[j]));
}

/// A thread a column of a sequence.
template <class Block, class T>
VIBEE_BLOCK void pool_rows_block(Block& b, const PoolRowsArgs& args) {
  const auto* x = static_cast<const T*>(args.x);
  const uint32_t sequence = b.block_x(), column = b.block_y() * b.threads() + b.thread();
  if (column >= args.n) return;
  const uint32_t rows = b.load(args.rows, sequence);
  const uint64_t first = uint64_t(b.load(args.first, sequence)) * args.n + column;
  const auto row = [&](uint32_t r) { return b.to_float(b.load(x, first + uint64_t(r) * args.n)); };
  float all = row(args.rule == PoolRule::last ? rows - 1 : 0);
  if (args.rule == PoolRule::mean) {
    for (uint32_t r = 1; r < rows; ++r) all = all + row(r);
    all = all * (1.0f / float(rows));
  }
  if (args.rule == PoolRule::max)
    for (uint32_t r = 1; r < rows; ++r) {
      const float v = row(r);
      all = all < v ? v : all;
    }
  b.store(args.out, uint64_t(sequence) * args.n + column, all);
}

}  // namespace vibee
