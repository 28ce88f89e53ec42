// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/tile_code.h"

#include <algorithm>

#include "vibee/base/memory/checked.h"

namespace vibee {
namespace {

/// Rows of a that a thread packs before it multiplies: half of a second-level cache.
constexpr uint64_t kBlockBytes = 256 << 10;
constexpr uint32_t kMostTiles = 64;

/// Bytes of a tile's rows, and how many such tiles are packed at once.
uint64_t tile_bytes(const TileCode& code, uint32_t depth) {
  return round_up(round_up(depth, code.unit) * code.bytes * code.rows, 64);
}
uint32_t tiles_of_block(const TileCode& code, uint32_t depth) {
  return uint32_t(std::clamp<uint64_t>(kBlockBytes / tile_bytes(code, depth), 1, kMostTiles));
}

}  // namespace

uint64_t tile_workspace(const TileCode& code, uint32_t depth) {
  return std::max(kBlockBytes, tile_bytes(code, depth)) + round_up(kMostTiles * code.rows * 2 * sizeof(float), 64);
}

void tile_product(const TileCode& code, const ProductOperand& a, const PackedPanels& b, Range rows, float* d,
                  uint64_t d_row, std::span<uint8_t> workspace, bool goes_on) {
  VIBEE_CHECK(a.depth == b.depth && workspace.size() >= tile_workspace(code, a.depth));
  const uint32_t most = tiles_of_block(code, a.depth);
  const uint64_t bytes = tile_bytes(code, a.depth);
  auto* const scales = reinterpret_cast<float*>(workspace.data() + most * bytes);
  auto* const sums = reinterpret_cast<int32_t*>(scales + uint64_t(most) * code.rows);
  const uint32_t begun = code.begin != nullptr ? code.begin() : 0;
  for (uint32_t begin = rows.begin; begin < rows.end; begin += most * code.rows) {
    const uint32_t end = std::min(rows.end, begin + most * code.rows);
    const uint32_t tiles = (end - begin + code.rows - 1) / code.rows;
    for (uint32_t t = 0; t < tiles; ++t) {
      const uint32_t first = begin + t * code.rows;
      float largest[kMostTileRows];
      if (code.largest != nullptr) code.largest(a, {first, std::min(end, first + code.rows)}, largest);
      ProductOperand some = a;
      some.rows = end;  // what is behind is another thread's
      code.pack_rows(some, first, code.rows, 0, largest, workspace.data() + t * bytes, scales + t * code.rows,
                     sums + t * code.rows);
    }
    for (uint32_t p = 0; p < b.panels(); p += code.panels) {
      const uint32_t panels = std::min(code.panels, b.panels() - p), column = p * kPackedPanel;
      for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t first = begin + t * code.rows, m = std::min(code.rows, end - first);
        const TileFinish finish{scales + t * code.rows,
                                b.scales() + column,
                                sums + t * code.rows,
                                d + first * d_row + column,
                                d_row,
                                m,
                                std::min(b.rows - column, panels * kPackedPanel),
                                goes_on};
        code.tile(m, panels)(workspace.data() + t * bytes, b.panel(p), b.panel_bytes(), a.depth, finish);
      }
    }
  }
  if (code.end != nullptr) code.end(begun);
}

}  // namespace vibee
