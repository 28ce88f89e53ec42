// SPDX-License-Identifier: Apache-2.0
// Block programs whose results are one chain each: reductions, pooling.
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
