// SPDX-License-Identifier: Apache-2.0
// Products of floats on plain fma, a tile of 64 x 64 a block of 64 threads, 8 x 8 sums a thread. A sum is the chain of
// fma over ascending k from 0, the canonical order of gemm_problem.h, so its bytes are the CPU's (but for the sign of a
// sum that is zero by underflow, because zeros stand behind the end of the depth).
#pragma once

#include "vibee/kernels/gemm/gemm_finish.h"
#include "vibee/kernels/gemm/gemm_stage.h"

namespace vibee {

constexpr uint32_t kFgemmSide = 64, kFgemmDepth = 16, kFgemmThreads = 64;

/// A step's vectors of an operand in a thread's registers, on their way to [depth][outer] in shared memory.
template <bool kDepthAlong>
struct FloatStage {
  static constexpr uint32_t kVectors = kFgemmSide * kFgemmDepth / 4 / kFgemmThreads;
  Vector16<float> at[kVectors];

  /// Vector i of a thread: four of a row's depths, the threads going down the rows, or four rows of a depth.
  VIBEE_BLOCK static uint32_t outer(uint32_t thread) { return kDepthAlong ? thread : thread % 16 * 4; }
  VIBEE_BLOCK static uint32_t depth(uint32_t thread, uint32_t i) { return kDepthAlong ? i * 4 : i * 4 + thread / 16; }

  template <class Block>
  VIBEE_BLOCK void load(Block& b, const OperandView<float>& view, uint32_t first, uint32_t k) {
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kVectors; ++i) {
      const VectorPlace place = vector_place<kDepthAlong>(view, first + outer(b.thread()), k + depth(b.thread(), i));
      at[i] = view.vectors && place.have == 4 ? b.load16(view.p, place.at) : gather_vector(b, view.p, place);
    }
  }
  template <class Block, class Room>
  VIBEE_BLOCK void store(Block& b, Room room, uint32_t begin) const {
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kVectors; ++i) {
      const uint32_t to = begin + depth(b.thread(), i) * kFgemmSide + outer(b.thread());
      if constexpr (kDepthAlong) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < 4; ++j) b.store(room, to + j * kFgemmSide, at[i].at[j]);
      } else {
        b.store16(room, to, at[i]);
      }
    }
  }
};

/// Row or column i of a thread's eight: two runs of four, so that threads side by side read side by side.
VIBEE_BLOCK uint32_t float_place(uint32_t thread, uint32_t i) { return i / 4 * 32 + thread * 4 + i % 4; }

/// The sums of a tile, left in `room` (sum_at; 4 * kFgemmSide * kFgemmDepth floats) behind a barrier. load_x(k) brings
/// an operand's next step into registers, store_x(begin) leaves it from word `begin` of the room on, as FloatStage
/// does.
template <class Block, class Room, class LoadA, class LoadB, class StoreA, class StoreB>
VIBEE_BLOCK void float_tile_sums(Block& b, Room room, uint32_t depth, const LoadA& load_a, const LoadB& load_b,
                                 const StoreA& store_a, const StoreB& store_b) {
  constexpr uint32_t kWords = kFgemmSide * kFgemmDepth;  // of a step of an operand; there are two of both
  const uint32_t steps = parts_of(depth, kFgemmDepth);
  const uint32_t down = b.thread() / 8, across = b.thread() % 8;
  if (steps > 0) {
    load_a(0);
    load_b(0);
  }
  float sums[8][8] = {};
  for (uint32_t step = 0; step < steps; ++step) {
    const uint32_t begin = step % 2 * 2 * kWords;
    store_a(begin);
    store_b(begin + kWords);
    b.sync();  // whoever is behind it has left the step before, whose place the next one takes
    if (step + 1 < steps) {
      load_a((step + 1) * kFgemmDepth);
      load_b((step + 1) * kFgemmDepth);
    }
    VIBEE_UNROLL
    for (uint32_t k = 0; k < kFgemmDepth; ++k) {
      const uint32_t at = begin + k * kFgemmSide;
      Vector16<float> a[2], c[2];
      VIBEE_UNROLL
      for (uint32_t i = 0; i < 2; ++i) {
        a[i] = b.load16(room, at + float_place(down, i * 4));
        c[i] = b.load16(room, at + kWords + float_place(across, i * 4));
      }
      VIBEE_UNROLL
      for (uint32_t i = 0; i < 8; ++i) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < 8; ++j) sums[i][j] = b.fma(a[i / 4].at[i % 4], c[j / 4].at[j % 4], sums[i][j]);
      }
    }
  }
  b.sync();
  VIBEE_UNROLL
  for (uint32_t i = 0; i < 8; ++i) {
    VIBEE_UNROLL
    for (uint32_t j = 0; j < 8; j += 4)
      b.store16(room, sum_at<kFgemmSide>(float_place(down, i), float_place(across, j)),
                Vector16<float>{{sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]}});
  }
  b.sync();
}

/// Of two operands that lie in rows.
template <bool kTransposedA, bool kTransposedB, class Block, class Room>
VIBEE_BLOCK void float_tile_sums(Block& b, Room room, const OperandView<float>& left, uint32_t row,
                                 const OperandView<float>& right, uint32_t column, uint32_t depth) {
  FloatStage<!kTransposedA> a;
  FloatStage<kTransposedB> c;
  float_tile_sums(
      b, room, depth, [&](uint32_t k) { a.load(b, left, row, k); }, [&](uint32_t k) { c.load(b, right, column, k); },
      [&](uint32_t begin) { a.store(b, room, begin); }, [&](uint32_t begin) { c.store(b, room, begin); });
}

template <class Block, bool kTransposedA, bool kTransposedB>
VIBEE_BLOCK void fgemm_block(Block& b, const GemmArgs& args) {
  const TilePlace tile = tile_place(b.block_x(), parts_of(args.m, kFgemmSide), parts_of(args.n, kFgemmSide));
  const uint32_t row = tile.row * kFgemmSide, column = tile.column * kFgemmSide;
  const auto left = operand_view<float>(args.a, args.ld_a, args.stride_a, b.block_z(), args.m, args.k);
  const auto right = operand_view<float>(args.b, args.ld_b, args.stride_b, b.block_z(), args.n, args.k);
  const auto room = shared_array<float>(b, 4 * kFgemmSide * kFgemmDepth);
  float_tile_sums<kTransposedA, kTransposedB>(b, room, left, row, right, column, args.k);
  finish_tile<kFgemmSide, kFgemmSide>(b, args, room, row, column);
}

}  // namespace vibee
