// SPDX-License-Identifier: Apache-2.0
// Products of warpgroups on sm_90a, after CUTLASS 3.x (v1688, v1645): one thread of the first group keeps a ring of
// tiles in shared memory full by copies of the tensor memory accelerator, the other groups multiply 64 rows each by
// wgmma and write D from their registers while the tiles of the block's next piece of work come in.
//
// The depth is cut into parts that the problem fixes: the tile's own groups add them up, or, where there are few tiles,
// parts are blocks of their own and whoever of them ends last adds them up in the same order. So a row's bytes depend
// neither on the rows beside it nor on who computes it.
#pragma once

#include "vibee/kernels/gemm/gemm_finish.h"
#include "vibee/kernels/gemm/gemm_stage.h"
#include "vibee/kernels/gemm/wgmma_gemm_launch.h"

namespace vibee {

constexpr uint32_t kWgmmaDepth = 64, kGroupRows = 64, kMostWgmmaStages = 8;
/// A tile begins at a multiple of what its exchange of vectors repeats after.
constexpr uint32_t kWgmmaAlign = 1024;
VIBEE_BLOCK_AND_HOST constexpr uint32_t wgmma_stage_bytes(uint32_t groups, uint32_t columns) {
  return (groups * kGroupRows + columns) * kWgmmaDepth * 2;
}
VIBEE_BLOCK_AND_HOST constexpr uint32_t wgmma_threads(uint32_t groups) { return (1 + groups) * kGroup; }

/// A tile, and which parts of its depth.
struct WgmmaWork {
  uint32_t row, column, first_part, end_part, tile;
};
template <uint32_t kRows, uint32_t kColumns>
VIBEE_BLOCK WgmmaWork wgmma_work(const WgmmaGemmArgs& args, uint32_t item) {
  const uint32_t rows = parts_of(args.gemm.m, kRows), columns = parts_of(args.gemm.n, kColumns);
  const uint32_t tile = item % (rows * columns), part = item / (rows * columns);
  const TilePlace place = tile_place(tile, rows, columns);
  return {place.row * kRows, place.column * kColumns, part, args.parts ? part + 1 : args.depth_parts, tile};
}
template <uint32_t kRows, uint32_t kColumns>
VIBEE_BLOCK uint32_t wgmma_items(const WgmmaGemmArgs& args) {
  return parts_of(args.gemm.m, kRows) * parts_of(args.gemm.n, kColumns) * (args.parts ? args.depth_parts : 1);
}
/// Where a part of `steps` steps begins; behind the last one they end.
VIBEE_BLOCK_AND_HOST uint32_t wgmma_part_begin(uint32_t steps, uint32_t parts, uint32_t part) {
  return uint32_t(uint64_t(steps) * part / parts);
}

/// Lane q of four holds pair q of four pieces of eight numbers; then all pairs of piece q.
template <class Block>
VIBEE_BLOCK Piece own_piece(Block& b, float (&x)[4][2]) {
  VIBEE_UNROLL
  for (uint32_t bit = 1; bit < 4; bit *= 2) {
    const bool high = (b.lane() & bit) != 0;
    VIBEE_UNROLL
    for (uint32_t g = 0; g < 4; ++g) {
      if (g & bit) continue;
      VIBEE_UNROLL
      for (uint32_t e = 0; e < 2; ++e) {
        const float got = b.shuffle_xor(high ? x[g][e] : x[g | bit][e], bit);
        x[g][e] = high ? got : x[g][e];
        x[g | bit][e] = high ? x[g | bit][e] : got;
      }
    }
  }
  Piece out;
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kPiece; ++i) out.at[i] = x[i / 2][i % 2];
  return out;
}

/// f(row, column, piece) for every piece of eight sums of this thread that lies in D. A group's sums lie as wgmma
/// leaves them (PTX ISA 9.0, 9.7.16.5.2): four numbers for eight columns, two of row lane / 4 and two of the eighth row
/// on.
template <uint32_t kColumns, class Block, class F>
VIBEE_BLOCK void each_piece(Block& b, const GemmArgs& args, uint32_t row, uint32_t column,
                            const float (&sums)[kColumns / 2], const F& f) {
  const uint32_t lane = b.lane();
  VIBEE_UNROLL
  for (uint32_t g = 0; g < kColumns / 32; ++g) {
    VIBEE_UNROLL
    for (uint32_t half = 0; half < 2; ++half) {
      float x[4][2];
      VIBEE_UNROLL
      for (uint32_t i = 0; i < 8; ++i) x[i / 2][i % 2] = sums[(g * 4 + i / 2) * 4 + half * 2 + i % 2];
      const Piece piece = own_piece(b, x);
      const uint32_t r = row + lane / 4 + half * 8, c = column + g * 32 + lane % 4 * kPiece;
      if (r < args.m && c < args.n) f(r, c, piece);
    }
  }
}

/// Fills stages with the tiles of all steps of the block's work. One thread.
template <class T, uint32_t kRows, uint32_t kColumns, class Block, class Room, class Barriers>
VIBEE_BLOCK void fill_stages(Block& b, const WgmmaGemmArgs& args, Room room, uint32_t begin, Barriers full,
                             Barriers empty) {
  constexpr uint32_t kStage = (kRows + kColumns) * kWgmmaDepth;
  const uint32_t steps = parts_of(args.gemm.k, kWgmmaDepth), items = wgmma_items<kRows, kColumns>(args);
  uint32_t stage = 0, parity = 1;  // a stage that nobody has filled is empty: as if a phase were over
  for (uint32_t item = b.block_x(); item < items; item += b.grid_x()) {
    const WgmmaWork work = wgmma_work<kRows, kColumns>(args, item);
    const uint32_t end = wgmma_part_begin(steps, args.depth_parts, work.end_part);
    for (uint32_t step = wgmma_part_begin(steps, args.depth_parts, work.first_part); step < end; ++step) {
      b.barrier_wait(empty, stage, parity);
      b.barrier_expect(full, stage, kStage * uint32_t(sizeof(T)));
      const uint32_t to = begin + stage * kStage;
      b.copy_tile(room, to, args.a, step * kWgmmaDepth, work.row, full, stage);
      b.copy_tile(room, to + kRows * kWgmmaDepth, args.b, step * kWgmmaDepth, work.column, full, stage);
      if (++stage == args.stages) stage = 0, parity ^= 1;
    }
  }
}

/// T: Bf16 or Half. kGroups groups of 64 rows by kColumns (128 or 256; the latter has no registers for parts). Parts
/// are blocks of their own for one group alone.
template <class Block, class T, uint32_t kGroups, uint32_t kColumns>
VIBEE_BLOCK void wgmma_gemm_block(Block& b, const WgmmaGemmArgs& args) {
  constexpr uint32_t kRows = kGroups * kGroupRows, kStage = (kRows + kColumns) * kWgmmaDepth;
  constexpr uint32_t kSums = kColumns / 2;
  constexpr bool kParts = kColumns <= 128;
  const auto full = shared_array<PhaseBarrier>(b, kMostWgmmaStages);
  const auto empty = shared_array<PhaseBarrier>(b, kMostWgmmaStages);
  const auto room = dynamic_array<T>(b, args.stages * kStage + kWgmmaAlign / 2);
  const uint32_t begin = (kWgmmaAlign - b.offset(room) % kWgmmaAlign) % kWgmmaAlign / 2;
  if (b.thread() == 0) {
    for (uint32_t s = 0; s < args.stages; ++s) {
      b.barrier_init(full, s, 1);
      b.barrier_init(empty, s, kGroups * kGroup / kWarp);  // a lane of every warp that multiplies
    }
    b.barrier_publish();
  }
  b.sync();
  if (b.thread() < kGroup) {
    if constexpr (kGroups > 1) b.give_registers(Groups<40>{});
    if (b.thread() == 0) fill_stages<T, kRows, kColumns>(b, args, room, begin, full, empty);
    return;
  }
  if constexpr (kGroups > 1) b.take_registers(Groups<232>{});
  const uint32_t group = b.thread() / kGroup - 1, warp = b.warp() % 4;
  const uint32_t steps = parts_of(args.gemm.k, kWgmmaDepth), items = wgmma_items<kRows, kColumns>(args);
  uint32_t stage = 0, parity = 0;
  for (uint32_t item = b.block_x(); item < items; item += b.grid_x()) {
    const WgmmaWork work = wgmma_work<kRows, kColumns>(args, item);
    const uint32_t row = work.row + group * kGroupRows + warp * 16;
    float sums[kSums], totals[kParts ? kSums : 1];
    for (uint32_t part = work.first_part; part < work.end_part; ++part) {
      const uint32_t first = wgmma_part_begin(steps, args.depth_parts, part);
      const uint32_t end = wgmma_part_begin(steps, args.depth_parts, part + 1);
      uint32_t before = stage;
      for (uint32_t step = first; step < end; ++step) {
        b.barrier_wait(full, stage, parity);
        const uint32_t left = begin + stage * kStage + group * kGroupRows * kWgmmaDepth;
        const uint32_t right = begin + stage * kStage + kRows * kWgmmaDepth;
        b.group_fence();
        VIBEE_UNROLL
        for (uint32_t k = 0; k < kWgmmaDepth; k += 16)
          b.group_mma(sums, b.tile_rows(room, left + k), b.tile_rows(room, right + k), step > first || k > 0, T{});
        b.group_commit();
        b.group_wait(Groups<1>{});  // those of the step before have read their tiles
        if (step > first && b.lane() == 0) b.barrier_arrive(empty, before);
        before = stage;
        if (++stage == args.stages) stage = 0, parity ^= 1;
      }
      b.group_wait(Groups<0>{});
      if (b.lane() == 0) b.barrier_arrive(empty, before);
      if constexpr (kParts) {
        VIBEE_UNROLL
        for (uint32_t i = 0; i < kSums; ++i) totals[i] = part == work.first_part ? sums[i] : totals[i] + sums[i];
      }
    }
    const auto finish = [&](uint32_t r, uint32_t c, const Piece& v) { finish_piece(b, args.gemm, r, c, v); };
    if constexpr (!kParts) {
      each_piece<kColumns>(b, args.gemm, row, work.column, sums, finish);
    } else if (kGroups > 1 || !args.parts) {
      each_piece<kColumns>(b, args.gemm, row, work.column, totals, finish);
    } else if constexpr (kGroups == 1) {
      const uint32_t m = args.gemm.m, n = args.gemm.n;
      const bool aligned = n % 4 == 0;
      const auto at = [&](uint32_t part, uint32_t r, uint32_t c) { return (uint64_t(part) * m + r) * n + c; };
      each_piece<kColumns>(b, args.gemm, row, work.column, totals, [&](uint32_t r, uint32_t c, const Piece& v) {
        store_piece(b, args.parts, at(work.first_part, r, c), n - c, aligned, v);
      });
      b.sync_warp(kAllLanes);
      const uint32_t counter = work.tile * 4 + warp;
      uint32_t others = 0;
      if (b.lane() == 0) {
        b.fence();
        others = b.atomic_add(args.arrived, counter, 1u);
      }
      if (b.shuffle(others, 0) + 1 < args.depth_parts) continue;
      b.fence();
      if (b.lane() == 0) b.store(args.arrived, counter, 0u);
      for (uint32_t i = b.lane(); i < 16 * (kColumns / kPiece); i += kWarp) {
        const uint32_t r = row + i / (kColumns / kPiece), c = work.column + i % (kColumns / kPiece) * kPiece;
        if (r >= m || c >= n) continue;
        Piece v = load_piece(b, args.parts, at(0, r, c), n - c, aligned);
        for (uint32_t part = 1; part < args.depth_parts; ++part) {
          const Piece next = load_piece(b, args.parts, at(part, r, c), n - c, aligned);
          VIBEE_UNROLL
          for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] + next.at[j];
        }
        finish(r, c, v);
      }
    }
  }
}

}  // namespace vibee
