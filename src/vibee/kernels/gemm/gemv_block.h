// SPDX-License-Identifier: Apache-2.0
// Products of at most kRows rows by a weight that is stored [n, k]: the weight is read once, 16 bytes a lane, and what
// the rows hold comes from the caches. A warp has kGemvColumns columns; its lanes take every 32nd piece of eight of the
// depth, each its chain of fma over ascending k from 0, and the lanes are summed by the tree of block_reduce.h.
#pragma once

#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/gemm/gemm_finish.h"

namespace vibee {

constexpr uint32_t kGemvWarps = 4, kGemvColumns = 2, kGemvBlockColumns = kGemvWarps * kGemvColumns;
static_assert(kGemvBlockColumns == kPiece, "a block's columns are one piece of a row of D");

template <class Block, class Weight, class Row, uint32_t kRows>
VIBEE_BLOCK void gemv_block(Block& b, const GemmArgs& args) {
  const auto* x = static_cast<const Row*>(args.a);
  const auto* w = static_cast<const Weight*>(args.b);
  const uint64_t item = b.block_z();
  const uint32_t first = b.block_x() * kGemvBlockColumns, column = first + b.warp() * kGemvColumns;
  const bool row_vectors = rows_of_vectors(x, args.ld_a | args.stride_a),
             weight_vectors = rows_of_vectors(w, args.ld_b | args.stride_b);
  // Rows and columns behind the last read the last one again: what they sum is not written.
  uint64_t row_at[kRows], column_at[kGemvColumns];
  VIBEE_UNROLL
  for (uint32_t r = 0; r < kRows; ++r)
    row_at[r] = item * args.stride_a + uint64_t(r < args.m ? r : args.m - 1) * args.ld_a;
  VIBEE_UNROLL
  for (uint32_t c = 0; c < kGemvColumns; ++c)
    column_at[c] = item * args.stride_b + uint64_t(column + c < args.n ? column + c : args.n - 1) * args.ld_b;
  float sums[kRows][kGemvColumns] = {};
  for (uint64_t k = b.lane() * kPiece; k < args.k; k += kWarp * kPiece) {
    const uint64_t left = args.k - k;
    Piece weight[kGemvColumns];
    VIBEE_UNROLL
    for (uint32_t c = 0; c < kGemvColumns; ++c) weight[c] = load_piece(b, w, column_at[c] + k, left, weight_vectors);
    VIBEE_UNROLL
    for (uint32_t r = 0; r < kRows; ++r) {
      const Piece v = load_piece(b, x, row_at[r] + k, left, row_vectors);
      VIBEE_UNROLL
      for (uint32_t c = 0; c < kGemvColumns; ++c) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kPiece; ++j) sums[r][c] = b.fma(v.at[j], weight[c].at[j], sums[r][c]);
      }
    }
  }
  const auto room = shared_array<float>(b, kRows * kGemvBlockColumns);
  VIBEE_UNROLL
  for (uint32_t r = 0; r < kRows; ++r) {
    VIBEE_UNROLL
    for (uint32_t c = 0; c < kGemvColumns; ++c) {
      const float sum = warp_reduce(b, sums[r][c], AddUp{});
      if (b.lane() == 0) b.store(room, sum_at<kGemvBlockColumns>(r, b.warp() * kGemvColumns + c), sum);
    }
  }
  b.sync();
  finish_tile<kRows, kGemvBlockColumns>(b, args, room, 0, first);
}

}  // namespace vibee
