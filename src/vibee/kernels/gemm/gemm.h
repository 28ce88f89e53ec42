// SPDX-License-Identifier: Apache-2.0
// The matmul family: out = x * w^T for weights in panels. Integer formats follow the arithmetic contract of
// tree/precision.md S4 (order int_block32, or int_row where a row has one scale), float formats one fma chain over k
// (order fma_k), those of tables sixteen (fma_16): for one row the bytes are the same whatever the instruction set, the
// number of rows beside it, or the thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "vibee/base/simd/isa.h"
#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/bf16_rows.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// One panel times m rows of a quantised group -> out[m][nr].
using IntTile = void (*)(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, uint32_t m,
                         float* out);
/// One panel times m float rows, `stride` floats apart -> out[m][nr].
using FloatTile = void (*)(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out);

/// How a kernel meets many rows where their codes are costly to unpack, or wanted in another form: those of a panel as
/// bytes, unpacked once, and the tile of rows row0 .. row0+m of a group of kActMaxGroup that reads them -> out[m][nr].
/// Both run on one thread, and nothing that computes by tiles of AMX runs there between them.
struct UnpackedTile {
  void (*unpack)(const uint8_t* panel, uint32_t k, uint8_t* bytes);
  void (*tile)(const uint8_t* panel, const uint8_t* bytes, uint32_t k, const uint8_t* group, uint32_t row0, uint32_t m,
               float* out);
  uint32_t block_bytes;  ///< that 32 k of a panel take
  uint32_t from_rows;    ///< so many rows pay for it
  uint32_t max_rows;     ///< rows a tile
};

/// A row of kernels.inc.
struct GemmKernel {
  std::string_view symbol, technique;
  Isa isa;
  Format format;
  std::string_view order;
  uint32_t max_rows;  ///< rows a tile, at most kActMaxGroup
  IntTile int_tile;   ///< set for integer formats
  FloatTile float_tile;
  const UnpackedTile* unpacked = nullptr;  ///< its functions are null where that would bring nothing
  /// For rows in bf16 (bf16_rows.h), the first of which is `group`; null where there are none, its functions where rows
  /// are quantised by another rule than ActRule::block.
  const UnpackedTile* bf16 = nullptr;
};
/// Rows of a tile, at most.
inline constexpr uint32_t kMostRowsATile = kBf16Tile;
/// Whether the codes of a panel are unpacked for so many quantised rows.
inline bool unpacks(const GemmKernel& kernel, uint32_t rows) {
  return kernel.unpacked && kernel.unpacked->unpack && rows >= kernel.unpacked->from_rows;
}

#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows)                             \
  void symbol(const uint8_t*, uint32_t, const uint8_t*, uint32_t, uint32_t, uint32_t, float*); \
  extern const UnpackedTile symbol##_unpacked, symbol##_bf16;
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows) \
  void symbol(const uint8_t*, uint32_t, const float*, uint64_t, uint32_t, float*);
#define VIBEE_DKERNEL(symbol, technique, isa, order)
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL

std::span<const GemmKernel> gemm_kernels();
/// The kernel for a format at an instruction set (the best row not above it); every format has a scalar row.
const GemmKernel& gemm_kernel(Format format, Isa isa);

/// `rows` rows of `x` times panels [first, last) of w. Tile results are handed to `store(panel, row, m, tile)`:
/// tile[m][nr]. Panels are the outer loop inside chunks of rows that stay in the second-level cache.
struct MatmulInput {
  const uint8_t* act = nullptr;  ///< quantised rows, or null
  const float* x = nullptr;      ///< float rows, k floats apart; integer formats are decoded for them
  uint32_t rows = 0;
  uint8_t* panels = nullptr;      ///< the thread's memory for panels that are made ready: panel_scratch bytes each
  const uint8_t* bf16 = nullptr;  ///< rows in bf16 (bf16_rows.h), for an integer format whose kernel has tiles for them
  /// Rows that a tile may not reach beyond: of a quantised group, or of tiles in bf16.
  uint32_t group() const { return bf16 ? kBf16Tile : act_group(rows); }
};
/// In what form rows meet an integer weight.
enum class RowForm : uint8_t { quantized, floats, bf16 };
/// Bytes that a panel of k columns takes when it is made ready for at most `rows` rows (PanelProduct), of which fewer
/// than kBf16FromRows are quantised whatever the form; 0 where it is multiplied as it is stored.
uint64_t panel_scratch(const GemmKernel& kernel, uint32_t k, uint32_t rows, RowForm form);
/// Rows a chunk, a multiple of the group: quantised ones take at most half a MiB, those in bf16 one.
uint32_t matmul_chunk(const MatmulInput& in, uint32_t k);

/// Rows of the tile that begins at `row`: inside one group of g rows, at most `most`, halves rather than a rest.
constexpr uint32_t tile_rows_at(uint32_t row, uint32_t end, uint32_t g, uint32_t most) {
  const uint32_t m = end - row < g - row % g ? end - row : g - row % g;
  return m <= most ? m : m < 2 * most ? (m + 1) / 2 : most;
}

/// One panel ready to be multiplied: as stored; or, where float rows meet an integer format (`--act f32`,
/// tree/precision.md S4 family C), decoded to floats once for all row tiles; or, where many rows meet it, its codes
/// unpacked likewise. `scratch` keeps what was made: panel_scratch bytes.
class PanelProduct {
 public:
  PanelProduct(const GemmKernel& kernel, const PackedWeight& w, const MatmulInput& in, uint32_t panel, uint8_t* scratch)
      : kernel_(&kernel), w_(w), in_(in), data_(w.data + panel * w.stride()) {
    if (kernel.int_tile && in.x) decode(panel, scratch);
    if (in.bf16)
      unpack(*kernel.bf16, scratch);
    else if (unpacks(kernel, in.rows) && !in.x)
      unpack(*kernel.unpacked, scratch);
  }
  uint32_t max_rows() const { return unpacked_ ? unpacked_->max_rows : kernel_->max_rows; }
  /// Rows row .. row+m, inside one group -> tile[m][w.nr].
  void tile(uint32_t row, uint32_t m, float* tile) const {
    if (in_.bf16) return unpacked_->tile(data_, bytes_, w_.k, in_.bf16, row, m, tile);
    if (kernel_->int_tile) {
      const uint32_t g = act_group(in_.rows);
      if (unpacked_) return unpacked_->tile(data_, bytes_, w_.k, act_group_at(row, g), row % g, m, tile);
      kernel_->int_tile(data_, w_.k, act_group_at(row, g), g, row % g, m, tile);
      return;
    }
    kernel_->float_tile(data_, w_.k, in_.x + uint64_t(row) * w_.k, w_.k, m, tile);
    if (w_.nr < 16)
      for (uint32_t i = 1; i < m; ++i)
        for (uint32_t j = 0; j < w_.nr; ++j) tile[i * w_.nr + j] = tile[i * 16 + j];
  }

 private:
  void decode(uint32_t panel, uint8_t* scratch);
  void unpack(const UnpackedTile& how, uint8_t* scratch);
  const uint8_t* act_group_at(uint32_t row, uint32_t g) const {
    return in_.act + uint64_t(row / g) * g * (w_.k / kActBlock) * kActRecordBytes;
  }
  const GemmKernel* kernel_;
  const PackedWeight& w_;
  const MatmulInput& in_;
  const uint8_t* data_;
  const UnpackedTile* unpacked_ = nullptr;
  const uint8_t* bytes_ = nullptr;  // what it made
};

template <class Store>
void matmul(const GemmKernel& kernel, const PackedWeight& w, const MatmulInput& in, uint32_t first, uint32_t last,
            Store&& store) {
  alignas(64) float tile[kMostRowsATile * 16];
  const uint32_t g = in.group(), chunk = matmul_chunk(in, w.k);
  for (uint32_t begin = 0; begin < in.rows; begin += chunk) {
    const uint32_t end = begin + chunk < in.rows ? begin + chunk : in.rows;
    for (uint32_t panel = first; panel < last; ++panel) {
      const PanelProduct product(kernel, w, in, panel, in.panels);
      for (uint32_t row = begin; row < end;) {
        const uint32_t m = tile_rows_at(row, end, g, product.max_rows());
        product.tile(row, m, tile);
        store(panel, row, m, tile);
        row += m;
      }
    }
  }
}

}  // namespace vibee
