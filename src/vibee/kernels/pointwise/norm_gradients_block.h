// SPDX-License-Identifier: Apache-2.0
// Gradients of norms as block programs, by the formulas of gradients.h.
#pragma once

#include "vibee/kernels/pointwise/norm_block.h"
#include "vibee/kernels/pointwise/norm_gradients_launch.h"

namespace vibee {

template <class Block>
VIBEE_BLOCK float row_mean(Block& b, const float* row, uint32_t n, bool aligned) {
  const auto room = shared_array<float>(b, kReduceRoom);
  float sum = 0;
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    const Piece v = load_piece(b, row, i, left, aligned);
    for (uint32_t j = 0; j < kPiece; ++j) sum = sum + v.at[j];
  });
  return block_sum(b, room, sum) / float(n);
}

struct Centred {
  static constexpr bool kYes = true;
};
struct NotCentred {
  static constexpr bool kYes = false;
};

/// With x^ the normed values and h = g * weight: (h - x^ mean(h x^) - [mean(h)]) * scale.
template <class Block, class Centring>
VIBEE_BLOCK void norm_dx_block(Block& b, const NormDxArgs& args) {
  const uint32_t n = args.n;
  const uint64_t at = uint64_t(b.block_x()) * n;
  const bool reads = rows_of_vectors(args.x, n), gains = rows_of_vectors(args.g, n),
             weighs = rows_of_vectors(args.weight, n), writes = rows_of_vectors(args.out, n);
  float mean = 0;
  if constexpr (Centring::kYes) mean = row_mean(b, args.x + at, n, reads);
  const float scale = inverse_deviation(b, args.x + at, n, reads, mean, args.eps);
  const auto room = shared_array<float>(b, kReduceRoom);
  float along = 0, shift = 0;
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    const Piece x = load_piece(b, args.x, at + i, left, reads), g = load_piece(b, args.g, at + i, left, gains),
                w = load_piece(b, args.weight, i, left, weighs);
    for (uint32_t j = 0; j < kPiece; ++j) {
      const float h = g.at[j] * w.at[j];  // 0 behind the row
      along = b.fma(h, (x.at[j] - mean) * scale, along);
      shift = shift + h;
    }
  });
  along = block_sum(b, room, along) / float(n);
  if constexpr (Centring::kYes)
    shift = block_sum(b, room, shift) / float(n);
  else
    shift = 0;
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    Piece x = load_piece(b, args.x, at + i, left, reads);
    const Piece g = load_piece(b, args.g, at + i, left, gains), w = load_piece(b, args.weight, i, left, weighs);
    for (uint32_t j = 0; j < kPiece; ++j)
      x.at[j] = (g.at[j] * w.at[j] - b.fma((x.at[j] - mean) * scale, along, shift)) * scale;
    store_piece(b, args.out, at + i, left, writes, x);
  });
}

template <class Block, class Centring>
VIBEE_BLOCK void norm_statistics_block(Block& b, const NormStatisticsArgs& args) {
  const uint32_t n = args.n;
  const uint64_t at = uint64_t(b.block_x()) * n;
  const bool reads = rows_of_vectors(args.x, n);
  float mean = 0;
  if constexpr (Centring::kYes) mean = row_mean(b, args.x + at, n, reads);
  const float scale = inverse_deviation(b, args.x + at, n, reads, mean, args.eps);
  if (b.thread() != 0) return;
  b.store(args.statistics, uint64_t(b.block_x()) * 2, mean);
  b.store(args.statistics, uint64_t(b.block_x()) * 2 + 1, scale);
}

/// A thread a column of a group of rows: f(sum, row, index).
template <class Block, class F>
VIBEE_BLOCK void columns_block(Block& b, const ColumnArgs& args, F&& f) {
  const uint32_t column = b.block_x() * b.threads() + b.thread(), first = b.block_y() * kRowsEach;
  if (column >= args.n) return;
  float sum = 0;
  for (uint32_t r = first; r < args.rows && r < first + kRowsEach; ++r) sum = f(sum, r, uint64_t(r) * args.n + column);
  b.store(args.out, uint64_t(b.block_y()) * args.n + column, sum);
}
template <class Block>
VIBEE_BLOCK void norm_dw_block(Block& b, const ColumnArgs& args) {
  columns_block(b, args, [&](float sum, uint32_t r, uint64_t i) {
    const float mean = b.load(args.statistics, uint64_t(r) * 2), scale = b.load(args.statistics, uint64_t(r) * 2 + 1);
    return b.fma(b.load(args.g, i), (b.load(args.x, i) - mean) * scale, sum);
  });
}
template <class Block>
VIBEE_BLOCK void column_sum_block(Block& b, const ColumnArgs& args) {
  columns_block(b, args, [&](float sum, uint32_t, uint64_t i) { return sum + b.load(args.g, i); });
}

}  // namespace vibee
