// SPDX-License-Identifier: Apache-2.0
// The matmul family: out = x * w^T for weights in panels. Integer formats follow the arithmetic contract of tree/precision.md S4
// (order int_block32), float formats one fma chain over k (order fma_k): for one row the bytes are the same whatever the
// instruction set, the number of rows beside it, or the thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vibee/base/simd/isa.h"
#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// One panel times m rows of a quantised group -> out[m][nr].
using IntTile = void (*)(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, uint32_t m, float* out);
/// One panel times m float rows, `stride` floats apart -> out[m][nr].
using FloatTile = void (*)(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out);

/// A row of kernels.inc.
struct GemmKernel {
  std::string_view symbol, technique;
  Isa isa;
  Format format;
  std::string_view order;
  uint32_t max_rows;  ///< rows a tile, at most kActMaxGroup
  IntTile int_tile;   ///< set for integer formats
  FloatTile float_tile;
};

#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows) \
  void symbol(const uint8_t*, uint32_t, const uint8_t*, uint32_t, uint32_t, uint32_t, float*);
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows) \
  void symbol(const uint8_t*, uint32_t, const float*, uint64_t, uint32_t, float*);
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL

std::span<const GemmKernel> gemm_kernels();
/// The kernel for a format at an instruction set (the best row not above it); every format has a scalar row.
const GemmKernel& gemm_kernel(Format format, Isa isa);

/// `rows` rows of `x` times panels [first, last) of w. Tile results are handed to `store(panel, row, m, tile)`: tile[m][nr].
/// Panels are the outer loop inside chunks of rows that stay in the second-level cache.
struct MatmulInput {
  const uint8_t* act = nullptr;  ///< quantised rows (integer formats)
  const float* x = nullptr;      ///< float rows (float formats), k floats apart
  uint32_t rows = 0;
};
/// Rows a chunk: activations of a chunk take at most half a MiB; a multiple of the act group.
uint32_t matmul_chunk(uint32_t rows, uint32_t k);

/// Rows of the tile that begins at `row`: inside one group of g rows, at most `most`, halves rather than a rest.
constexpr uint32_t tile_rows_at(uint32_t row, uint32_t end, uint32_t g, uint32_t most) {
  const uint32_t m = end - row < g - row % g ? end - row : g - row % g;
  return m <= most ? m : m < 2 * most ? (m + 1) / 2 : most;
}

template <class Store>
void matmul(const GemmKernel& kernel, const PackedWeight& w, const MatmulInput& in, uint32_t first, uint32_t last, Store&& store) {
  alignas(64) float tile[kActMaxGroup * 16];
  const uint32_t g = act_group(in.rows), chunk = matmul_chunk(in.rows, w.k);
  const uint64_t stride = w.stride(), group_bytes = uint64_t(g) * (w.k / kActBlock) * kActRecordBytes;
  for (uint32_t begin = 0; begin < in.rows; begin += chunk) {
    const uint32_t end = begin + chunk < in.rows ? begin + chunk : in.rows;
    for (uint32_t panel = first; panel < last; ++panel) {
      const uint8_t* p = w.data + panel * stride;
      for (uint32_t row = begin; row < end;) {
        const uint32_t in_group = row % g, m = tile_rows_at(row, end, g, kernel.max_rows);
        if (kernel.int_tile) {
          kernel.int_tile(p, w.k, in.act + row / g * group_bytes, g, in_group, m, tile);
        } else {
          kernel.float_tile(p, w.k, in.x + uint64_t(row) * w.k, w.k, m, tile);
        }
        store(panel, row, m, tile);
        row += m;
      }
    }
  }
}

}  // namespace vibee
