// SPDX-License-Identifier: Apache-2.0
// Products by experts in panels: the tiles of packed_gemm_block.h whose rows a work list (route_launch.h) names. Blocks
// are tiles of pairs by columns; a sum has the bytes of its row's plain product.
#pragma once

#include "vibee/kernels/gemm/packed_gemm_block.h"
#include "vibee/kernels/pointwise/route_block.h"

namespace vibee {

/// tile(pairs, first panel, row_of, out_of) of the block's tile of at most kRows pairs; behind the last of these row_of
/// says it again, and out_of says what is not in D.
template <uint32_t kRows, class Block, class Tile>
VIBEE_BLOCK void packed_tile(Block& b, const GroupedArgs& args, const Tile& tile) {
  const RouteTile mine = load_tile(b, args.tiles, b.block_x());
  if (mine.count == 0) return;
  const auto pairs = shared_array<uint32_t>(b, kRows);
  for (uint32_t r = b.thread(); r < mine.count; r += b.threads()) b.store(pairs, r, b.load(args.pairs, mine.begin + r));
  b.sync();
  const auto pair_of = [&](uint32_t r) { return b.load(pairs, r < mine.count ? r : mine.count - 1); };
  tile(
      mine.count, uint64_t(mine.expert) * parts_of(args.gemm.n, kPanelRows),
      [&](uint32_t r) { return pair_of(r) / args.share; },
      [&](uint32_t r) { return r < mine.count ? b.load(pairs, r) : 0xffffffffu; });
}

template <class Block, PanelCodes kKind>
VIBEE_BLOCK void packed_grouped_gemv_block(Block& b, const PackedGroupedArgs& args) {
  packed_tile<kFewRows>(b, args.grouped,
                        [&](uint32_t rows, uint64_t first_panel, const auto& row_of, const auto& out_of) {
                          packed_few_rows<kKind>(b, args.panel, args.grouped.gemm, b.block_y() * kPair, first_panel,
                                                 rows, row_of, out_of);
                        });
}
template <class Block, PanelCodes kKind>
VIBEE_BLOCK void packed_grouped_gemm_block(Block& b, const PackedGroupedArgs& args) {
  packed_tile<kManyRows>(b, args.grouped, [&](uint32_t, uint64_t first_panel, const auto& row_of, const auto& out_of) {
    packed_many_rows<kKind>(b, args.panel, args.grouped.gemm, b.block_y() * kManyColumns, first_panel, row_of, out_of);
  });
}

}  // namespace vibee
