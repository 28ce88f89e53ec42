// SPDX-License-Identifier: Apache-2.0
// Norms of rows as block programs: a block a row, sums in f32 over pieces of eight in ascending order in each thread,
// then the trees of block_reduce.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/pointwise/norm_launch.h"

namespace vibee {

/// A thread's pieces of a row: f(i, left) for each.
template <class Block, class F>
VIBEE_BLOCK void each_row_piece(Block& b, uint32_t n, F&& f) {
  for (uint32_t i = b.thread() * kPiece; i < n; i += b.threads() * kPiece) f(i, n - i);
}

template <class Block, class T>
VIBEE_BLOCK float inverse_deviation(Block& b, const T* row, uint32_t n, bool aligned, float mean, float eps) {
  const auto room = shared_array<float>(b, kReduceRoom);
  float squares = 0;
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    const Piece x = load_piece(b, row, i, left, aligned);
    for (uint32_t j = 0; j < kPiece; ++j) {
      const float v = j < left ? x.at[j] - mean : 0.0f;
      squares = b.fma(v, v, squares);
    }
  });
  return 1.0f / b.sqrt(block_sum(b, room, squares) / float(n) + eps);
}

/// out = x / sqrt(mean(x^2) + eps) * weight.
template <class Block, class In, class Out>
VIBEE_BLOCK void rms_norm_block(Block& b, const NormArgs& args) {
  const uint32_t n = args.n;
  const auto* x = static_cast<const In*>(args.x);
  auto* out = static_cast<Out*>(args.out);
  const uint64_t at = uint64_t(b.block_x()) * n;
  const bool reads = rows_of_vectors(x, n), weighs = rows_of_vectors(args.weight, n), writes = rows_of_vectors(out, n);
  const float scale = inverse_deviation(b, x + at, n, reads, 0.0f, args.eps);
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    Piece v = load_piece(b, x, at + i, left, reads);
    const Piece w = load_piece(b, args.weight, i, left, weighs);
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] * scale * w.at[j];
    store_piece(b, out, at + i, left, writes, v);
  });
}

/// out = (x - mean) / sqrt(variance + eps) * weight + bias.
template <class Block, class In, class Out>
VIBEE_BLOCK void layer_norm_block(Block& b, const NormArgs& args) {
  const uint32_t n = args.n;
  const auto* x = static_cast<const In*>(args.x);
  auto* out = static_cast<Out*>(args.out);
  const uint64_t at = uint64_t(b.block_x()) * n;
  const bool reads = rows_of_vectors(x, n), weighs = rows_of_vectors(args.weight, n),
             adds = rows_of_vectors(args.bias, n), writes = rows_of_vectors(out, n);
  const auto room = shared_array<float>(b, kReduceRoom);
  float sum = 0;
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    const Piece v = load_piece(b, x, at + i, left, reads);
    for (uint32_t j = 0; j < kPiece; ++j) sum = sum + v.at[j];
  });
  const float mean = block_sum(b, room, sum) / float(n);
  const float scale = inverse_deviation(b, x + at, n, reads, mean, args.eps);
  each_row_piece(b, n, [&](uint32_t i, uint32_t left) {
    Piece v = load_piece(b, x, at + i, left, reads);
    const Piece w = load_piece(b, args.weight, i, left, weighs), bias = load_piece(b, args.bias, i, left, adds);
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = b.fma((v.at[j] - mean) * scale, w.at[j], bias.at[j]);
    store_piece(b, out, at + i, left, writes, v);
  });
}

}  // namespace vibee
