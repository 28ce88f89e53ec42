// SPDX-License-Identifier: Apache-2.0
// The end of every block program that multiplies: sums of a tile lie in shared memory, where the threads take them in
// pieces of eight columns, apply the epilogue of gemm_launch.h and write D.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/kernels/gemm/gemm_launch.h"
#include "vibee/kernels/pointwise/elementwise_block.h"

namespace vibee {

/// Where sum (row, column) of a tile of kColumns lies. Pieces of a row are exchanged, so that the eight rows that an
/// mma leaves in a warp's registers meet fewer times in a bank.
template <uint32_t kColumns>
VIBEE_BLOCK uint32_t sum_at(uint32_t row, uint32_t column) {
  constexpr uint32_t kPieces = kColumns / kPiece, kTurns = kPieces < 4 ? kPieces : 4;
  return row * kColumns + ((column / kPiece) ^ (row % kTurns)) * kPiece + column % kPiece;
}

template <class Block>
VIBEE_BLOCK Piece load_output(Block& b, GemmOutput type, const void* p, uint64_t i, uint32_t left, bool aligned) {
  if (type == GemmOutput::bf16) return load_piece(b, static_cast<const Bf16*>(p), i, left, aligned);
  if (type == GemmOutput::f16) return load_piece(b, static_cast<const Half*>(p), i, left, aligned);
  return load_piece(b, static_cast<const float*>(p), i, left, aligned);
}
template <class Block>
VIBEE_BLOCK void store_output(Block& b, GemmOutput type, void* p, uint64_t i, uint32_t left, bool aligned,
                              const Piece& piece) {
  if (type == GemmOutput::bf16) return store_piece(b, static_cast<Bf16*>(p), i, left, aligned, piece);
  if (type == GemmOutput::f16) return store_piece(b, static_cast<Half*>(p), i, left, aligned, piece);
  store_piece(b, static_cast<float*>(p), i, left, aligned, piece);
}

template <class Block, class Op>
VIBEE_BLOCK void activate_piece(Block& b, Piece& v, Op op) {
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = op(b, v.at[j], 0.0f);
}

/// Eight sums of `row` from `column` on become those of D.
template <class Block>
VIBEE_BLOCK void finish_piece(Block& b, const GemmArgs& args, uint32_t row, uint32_t column, Piece v) {
  const uint32_t left = args.n - column;
  const uint64_t item = b.block_z(), at = item * args.stride_d + uint64_t(row) * args.ld_d + column;
  const uint32_t each = args.output == GemmOutput::f32 ? 4 : 8;  // elements of 16 bytes
  const auto aligned = [&](const void* p) {
    return begins_a_vector(static_cast<const char*>(p)) && (args.ld_d | args.stride_d) % each == 0;
  };
  if (args.row_scales) {
    const float scale = b.load(args.row_scales, row);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] * scale;
  }
  if (args.column_scales) {
    const Piece w = load_piece(b, args.column_scales, column, left, begins_a_vector(args.column_scales));
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] * w.at[j];
  }
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = args.alpha * v.at[j];
  if (args.beta != 0.0f) {
    const Piece c = load_output(b, args.output, args.c, at, left, aligned(args.c));
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = b.fma(args.beta, c.at[j], v.at[j]);
  }
  if (args.bias) {
    const bool whole = begins_a_vector(args.bias) && args.stride_bias % 4 == 0;
    const Piece w = load_piece(b, args.bias, item * args.stride_bias + column, left, whole);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] + w.at[j];
  }
  if (args.pre) store_output(b, args.output, args.pre, at, left, aligned(args.pre), v);
  if (args.activation == GemmActivation::silu) activate_piece(b, v, SiluOp{});
  if (args.activation == GemmActivation::gelu_tanh) activate_piece(b, v, GeluTanhOp{});
  if (args.activation == GemmActivation::gelu) activate_piece(b, v, GeluOp{});
  if (args.multiply) {
    const Piece w = load_output(b, args.output, args.multiply, at, left, aligned(args.multiply));
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] * w.at[j];
  }
  if (args.residual) {
    const Piece w = load_output(b, args.output, args.residual, at, left, aligned(args.residual));
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] + w.at[j];
  }
  store_output(b, args.output, args.d, at, left, aligned(args.d), v);
}

/// kRows x kColumns sums whose row r is row row_of(r) of D, from `column` on; behind a barrier. Rows from m on are not
/// written.
template <uint32_t kRows, uint32_t kColumns, class Block, class Sums, class RowOf>
VIBEE_BLOCK void finish_rows(Block& b, const GemmArgs& args, const Sums& sums, uint32_t column, const RowOf& row_of) {
  constexpr uint32_t kPieces = kColumns / kPiece;
  for (uint32_t i = b.thread(); i < kRows * kPieces; i += b.threads()) {
    const uint32_t r = i / kPieces, c = i % kPieces * kPiece, row = row_of(r);
    if (row >= args.m || column + c >= args.n) continue;
    const uint32_t at = sum_at<kColumns>(r, c);
    const Vector16<float> low = b.load16(sums, at), high = b.load16(sums, at + 4);
    Piece v;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < 4; ++j) v.at[j] = low.at[j], v.at[4 + j] = high.at[j];
    finish_piece(b, args, row, column + c, v);
  }
}
/// Rows that follow one another.
template <uint32_t kRows, uint32_t kColumns, class Block, class Sums>
VIBEE_BLOCK void finish_tile(Block& b, const GemmArgs& args, const Sums& sums, uint32_t row, uint32_t column) {
  finish_rows<kRows, kColumns>(b, args, sums, column, [row](uint32_t r) { return row + r; });
}

}  // namespace vibee
