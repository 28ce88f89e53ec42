// SPDX-License-Identifier: Apache-2.0
// Products on matrix units, after CUTLASS 2.x (v1688): a tile of D a block, kSide x kSide with 64 bytes of depth a
// step; a warp has 64 x 32 of 128 x 128 (eight warps) or 32 x 32 of 64 x 64 (four); mma.sync multiplies 16 x 8 x 32
// bytes of depth. cp.async fills kGemmStages tiles of both operands in shared memory ahead of the step that reads them.
//
// Sums go over ascending depth, 32 bytes of it a mma, whose own order is the device's. Behind the end of the depth
// stand zeros.
#pragma once

#include "vibee/kernels/gemm/gemm_finish.h"
#include "vibee/kernels/gemm/gemm_stage.h"

namespace vibee {

constexpr uint32_t kGemmStages = 4, kGemmDepthBytes = 64;
/// Floats of shared memory that a tile of an operand takes, and bytes that a block does; the sums fit as well.
VIBEE_BLOCK_AND_HOST constexpr uint32_t operand_words(uint32_t side) { return side * kGemmDepthBytes / 4; }
VIBEE_BLOCK_AND_HOST constexpr uint32_t gemm_shared_bytes(uint32_t side) {
  return kGemmStages * 2 * operand_words(side) * 4;
}

/// A tile of an operand in shared memory: rows of vectors as they are stored, along the depth or across it. Vectors of
/// a row are exchanged by xor, so that the eight that ldmatrix reads at once lie in different banks: those of eight
/// rows of 64 bytes, two rows a line of 128, or of eight longer rows.
template <class T, uint32_t kSide, bool kDepthAlong>
struct OperandTile {
  static constexpr uint32_t kEach = Vector16<T>::kCount, kDepth = kGemmDepthBytes / sizeof(T);
  static constexpr uint32_t kRows = kDepthAlong ? kSide : kDepth, kVectors = (kDepthAlong ? kDepth : kSide) / kEach;
  static_assert(kDepthAlong || sizeof(T) == 2, "ldmatrix transposes elements of 16 bits");

  /// Word of vector `v` of a row.
  VIBEE_BLOCK static uint32_t at(uint32_t row, uint32_t v) {
    const uint32_t turn = kVectors == 4 ? row / 2 % 4 : row % 8;
    return (row * kVectors + (v ^ turn)) * 4;
  }

  template <class Block, class Room>
  VIBEE_BLOCK static void fetch(Block& b, Room room, uint32_t begin, const OperandView<T>& view, uint32_t outer,
                                uint32_t depth) {
    fetch_rows(b, room, begin, view, depth, [outer](uint32_t i) { return outer + i; });
  }
  /// Place i of the outer dimension takes what outer_of(i) names there (across the depth: for the first of a vector).
  template <class Block, class Room, class OuterOf>
  VIBEE_BLOCK static void fetch_rows(Block& b, Room room, uint32_t begin, const OperandView<T>& view, uint32_t depth,
                                     const OuterOf& outer_of) {
    for (uint32_t i = b.thread(); i < kRows * kVectors; i += b.threads()) {
      const uint32_t row = i / kVectors, along = i % kVectors * kEach;
      const VectorPlace place =
          vector_place<kDepthAlong>(view, outer_of(kDepthAlong ? row : along), depth + (kDepthAlong ? along : row));
      const uint32_t to = begin + at(row, i % kVectors);
      if (view.vectors && (place.have == kEach || place.have == 0)) {
        // Vectors are at even addresses of floats, whatever they hold.
        const auto* words = reinterpret_cast<const float*>(view.p);
        b.copy_async16(room, to, words, place.at / (kEach / 4), place.have != 0);
      } else {
        b.store16(room, to, same_bits<float>(gather_vector(b, view.p, place)));
      }
    }
  }

  /// Where a lane's row of four 8x8 matrices begins: matrices 0 and 1 (`step` 0) or 0 and 2 (`step` 1) follow one
  /// another in the outer dimension, the others in depth. `depth` counts halves of an mma.
  template <uint32_t kStep>
  VIBEE_BLOCK static uint32_t matrices(uint32_t lane, uint32_t outer, uint32_t depth) {
    const uint32_t matrix = lane / 8, next = (kStep == 0 ? matrix : matrix / 2) % 2;
    const uint32_t half = depth + (kStep == 0 ? matrix / 2 : matrix % 2);
    if constexpr (kDepthAlong)
      return at(outer + next * 8 + lane % 8, half);
    else
      return at(half * 8 + lane % 8, outer / 8 + next);
  }
  template <class Block, class Room>
  VIBEE_BLOCK static void load(Block& b, uint32_t (&r)[4], Room room, uint32_t i) {
    if constexpr (kDepthAlong)
      b.load_matrices(r, room, i);
    else
      b.load_matrices_transposed(r, room, i);
  }
};

/// The sums of a tile over `steps` steps, left in `room` (sum_at) behind a barrier. fill(begin, depth) begins to copy
/// the tiles of A and B from that depth on to their places behind word `begin` of it.
template <class T, class Sum, uint32_t kSide, bool kTransposedA, bool kTransposedB, class Block, class Room, class Fill>
VIBEE_BLOCK void tile_sums(Block& b, Room room, uint32_t steps, const Fill& fill) {
  using TileA = OperandTile<T, kSide, !kTransposedA>;
  using TileB = OperandTile<T, kSide, kTransposedB>;
  constexpr uint32_t kWords = operand_words(kSide);
  constexpr uint32_t kHigh = kSide / 2, kWide = 32;  // of a warp; two rows of warps
  constexpr uint32_t kDown = kHigh / 16, kAcross = kWide / 8;
  const auto fetch = [&](uint32_t step) {
    if (step < steps) fill(step % kGemmStages * 2 * kWords, step * TileA::kDepth);
    b.commit_async();  // an empty group too, so that waits count alike
  };
  for (uint32_t step = 0; step + 1 < kGemmStages; ++step) fetch(step);

  const uint32_t warp_row = b.warp() % 2 * kHigh, warp_column = b.warp() / 2 * kWide, lane = b.lane();
  Sum sums[kDown][kAcross][4] = {};
  for (uint32_t step = 0; step < steps; ++step) {
    b.wait_async(Groups<kGemmStages - 2>{});
    b.sync();                       // this step's tiles are there, and nobody reads those of the step before any more,
    fetch(step + kGemmStages - 1);  // whose place these take
    const uint32_t begin = step % kGemmStages * 2 * kWords;
    VIBEE_UNROLL
    for (uint32_t half = 0; half < 4; half += 2) {
      uint32_t down[kDown][4], across[kAcross / 2][4];
      VIBEE_UNROLL
      for (uint32_t i = 0; i < kDown; ++i)
        TileA::load(b, down[i], room, begin + TileA::template matrices<0>(lane, warp_row + i * 16, half));
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kAcross / 2; ++j)
        TileB::load(b, across[j], room, begin + kWords + TileB::template matrices<1>(lane, warp_column + j * 16, half));
      VIBEE_UNROLL
      for (uint32_t i = 0; i < kDown; ++i) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kAcross; ++j) {
          const uint32_t pair[2] = {across[j / 2][j % 2 * 2], across[j / 2][j % 2 * 2 + 1]};
          b.mma(sums[i][j], down[i], pair, T{});
        }
      }
    }
  }
  b.wait_async(Groups<0>{});
  b.sync();  // the sums take the place of the operands
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kDown; ++i) {
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kAcross; ++j) {
      VIBEE_UNROLL
      for (uint32_t e = 0; e < 4; ++e) {
        const uint32_t r = warp_row + i * 16 + e / 2 * 8 + lane / 4, c = warp_column + j * 8 + lane % 4 * 2 + e % 2;
        b.store(room, sum_at<kSide>(r, c), float(sums[i][j][e]));
      }
    }
  }
  b.sync();
}

/// T: Bf16, Half (Sum float), or int8_t (Sum int32_t; A as is and B transposed).
template <class Block, class T, class Sum, uint32_t kSide, bool kTransposedA, bool kTransposedB>
VIBEE_BLOCK void gemm_block(Block& b, const GemmArgs& args) {
  using TileA = OperandTile<T, kSide, !kTransposedA>;
  using TileB = OperandTile<T, kSide, kTransposedB>;
  constexpr uint32_t kWords = operand_words(kSide);
  const TilePlace tile = tile_place(b.block_x(), parts_of(args.m, kSide), parts_of(args.n, kSide));
  const uint32_t row = tile.row * kSide, column = tile.column * kSide;
  const auto left = operand_view<T>(args.a, args.ld_a, args.stride_a, b.block_z(), args.m, args.k);
  const auto right = operand_view<T>(args.b, args.ld_b, args.stride_b, b.block_z(), args.n, args.k);
  const auto room = dynamic_array<float>(b, kGemmStages * 2 * kWords);
  tile_sums<T, Sum, kSide, kTransposedA, kTransposedB>(b, room, parts_of(args.k, TileA::kDepth),
                                                       [&](uint32_t begin, uint32_t depth) {
                                                         TileA::fetch(b, room, begin, left, row, depth);
                                                         TileB::fetch(b, room, begin + kWords, right, column, depth);
                                                       });
  finish_tile<kSide, kSide>(b, args, room, row, column);
}

}  // namespace vibee
