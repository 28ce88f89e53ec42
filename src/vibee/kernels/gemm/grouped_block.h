// SPDX-License-Identifier: Apache-2.0
// Products by experts as block programs: the tiles of gemm_block.h and fgemm_block.h whose rows a work list names, and
// the streamed weights of gemv_block.h. An element of D has the sum of the plain product of its row, byte for byte.
#pragma once

#include "vibee/kernels/gemm/fgemm_block.h"
#include "vibee/kernels/gemm/gemm_block.h"
#include "vibee/kernels/gemm/gemv_block.h"
#include "vibee/kernels/gemm/grouped_launch.h"
#include "vibee/kernels/pointwise/route_block.h"

namespace vibee {

/// The arguments of one expert's product.
VIBEE_BLOCK GemmArgs expert_args(const GroupedArgs& args, uint32_t expert) {
  GemmArgs own = args.gemm;
  if (own.bias) own.bias += expert * own.stride_bias;
  own.stride_bias = 0;
  return own;
}

constexpr uint32_t kNoPair = 0xffffffffu;

/// Blocks are tiles of rows by tiles of columns.
template <class Block, class T, uint32_t kSide>
VIBEE_BLOCK void grouped_block(Block& b, const GroupedArgs& args) {
  using Tile = OperandTile<T, kSide, true>;
  constexpr uint32_t kWords = operand_words(kSide);
  const RouteTile tile = load_tile(b, args.tiles, b.block_x());
  if (tile.count == 0) return;
  const uint32_t column = b.block_y() * kSide;
  const GemmArgs own = expert_args(args, tile.expert);
  const auto left = operand_view<T>(own.a, own.ld_a, 0, 0, own.m, own.k);
  const auto right = operand_view<T>(own.b, own.ld_b, own.stride_b, tile.expert, own.n, own.k);
  const auto pairs = shared_array<uint32_t>(b, kSide);
  const auto room = dynamic_array<float>(b, kGemmStages * 2 * kWords);
  for (uint32_t r = b.thread(); r < kSide; r += b.threads())
    b.store(pairs, r, r < tile.count ? b.load(args.pairs, tile.begin + r) : kNoPair);
  b.sync();
  tile_sums<T, float, kSide, false, true>(b, room, parts_of(own.k, Tile::kDepth), [&](uint32_t begin, uint32_t depth) {
    const auto row_of = [&](uint32_t r) {
      const uint32_t pair = b.load(pairs, r);
      return pair == kNoPair ? kNoPair : pair / args.share;
    };
    Tile::fetch_rows(b, room, begin, left, depth, row_of);
    Tile::fetch(b, room, begin + kWords, right, column, depth);
  });
  finish_rows<kSide, kSide>(b, own, room, column, [&](uint32_t r) { return b.load(pairs, r); });
}

/// The same of floats. A thread reads one row of A: its view begins there.
template <class Block>
VIBEE_BLOCK void grouped_float_block(Block& b, const GroupedArgs& args) {
  const RouteTile tile = load_tile(b, args.tiles, b.block_x());
  if (tile.count == 0) return;
  const uint32_t column = b.block_y() * kFgemmSide, mine = FloatStage<true>::outer(b.thread());
  const GemmArgs own = expert_args(args, tile.expert);
  const auto pair_of = [&](uint32_t r) { return r < tile.count ? b.load(args.pairs, tile.begin + r) : kNoPair; };
  const uint32_t pair = pair_of(mine);
  auto left = operand_view<float>(own.a, own.ld_a, 0, 0, pair == kNoPair ? 0 : kFgemmSide, own.k);
  if (pair != kNoPair) left.from = pair / args.share * own.ld_a;
  left.ld = 0;
  const auto right = operand_view<float>(own.b, own.ld_b, own.stride_b, tile.expert, own.n, own.k);
  const auto room = shared_array<float>(b, 4 * kFgemmSide * kFgemmDepth);
  float_tile_sums<false, true>(b, room, left, 0, right, column, own.k);
  finish_rows<kFgemmSide, kFgemmSide>(b, own, room, column, pair_of);
}

/// Blocks are columns by pairs (z): a pair is an item of a batch whose A and B its expert says.
template <class Block, class Weight, class Row>
VIBEE_BLOCK void grouped_gemv_block(Block& b, const GroupedArgs& args) {
  const uint32_t pair = b.block_z();
  const auto expert = uint32_t(b.load(args.route, uint64_t(pair / args.chosen) * 2 * args.chosen + pair % args.chosen));
  GemmArgs own = expert_args(args, expert);
  own.a = static_cast<const Row*>(own.a) + pair / args.share * own.ld_a;
  own.b = static_cast<const Weight*>(own.b) + expert * own.stride_b;
  own.stride_b = 0;
  own.stride_d = own.ld_d;
  own.m = 1;
  gemv_block<Block, Weight, Row, 1>(b, own);
}

}  // namespace vibee
