// SPDX-License-Identifier: Apache-2.0
// What an instruction set brings to dense products: packing, register tiles, and the epilogue of a tile. A row of
// kernels.inc; cutlass_kernel.h holds the one source of them all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "vibee/base/simd/isa.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

inline constexpr uint32_t kDensePanel = 16;  ///< columns of B in a panel, as in panel.h

/// A register tile: `m` rows (the function's own) of packed A, [k][m], times adjacent panels of B, [k][16] each,
/// `panel` bytes apart. The chains begin at `from`, rows `from_ld` floats apart, or at zero where it is null, and are
/// left in `to`.
using DenseTile = void (*)(const float* a, const uint8_t* b, uint64_t panel, uint32_t k, const float* from,
                           uint64_t from_ld, float* to, uint64_t to_ld);

/// What becomes of finished sums; pointers are those of D's first element and of what is laid out as D, or of the first
/// column's value. Null: not asked for.
struct DenseFinish {
  float alpha = 1, beta = 0;
  float* d = nullptr;
  uint64_t ld = 0;
  const float *c = nullptr, *bias = nullptr, *residual = nullptr;
  float *pre = nullptr, *column_sum = nullptr;
  std::optional<Gate> activation;
  /// Nothing to do but to store.
  bool plain() const { return alpha == 1 && c == nullptr && !bias && !residual && !pre && !column_sum && !activation; }
};

inline constexpr uint32_t kDenseMostRows = 28;  ///< of any tile of any instruction set

/// The code of an instruction set.
struct DenseCode {
  uint32_t rows, panels;  ///< of the largest tile
  uint32_t single_rows;   ///< most rows of a tile of one panel: B is read once for that many
  /// The tile of so many rows and panels of B in f32, f16 or bf16.
  DenseTile (*tile)(Format b, uint32_t rows, uint32_t panels);
  /// One panel: `width` <= 16 columns (B) or rows (A) of an operand whose k runs along the stored rows (`along`) or
  /// across them -> out[k][step]. Lanes from `width` to 16 become zeros and are written: `out` has room for
  /// (k - 1) * step + 16 floats, and with step < 16 they are overwritten by what is packed next. `readable`: elements
  /// that may be read across, from the first on; at least `width`.
  void (*pack)(const void* from, Format element, uint64_t ld, bool along, uint32_t width, uint64_t readable, uint32_t k,
               uint32_t step, float* out);
  /// All panels of `columns` columns of B, one behind the other; nothing beside them is read.
  void (*pack_panels)(const void* from, Format element, uint64_t ld, bool along, uint32_t columns, uint32_t k,
                      float* out);
  /// Finishes tile[m][ld] at (row, column) of D, `n` columns of it. Rows of a column come in ascending order.
  void (*finish)(const DenseFinish& what, const float* tile, uint64_t ld, uint32_t row, uint32_t m, uint32_t column,
                 uint32_t n);
};

/// A row of kernels.inc.
struct DenseKernel {
  std::string_view symbol, technique;
  Isa isa;
  std::string_view order;
  const DenseCode* code;
};

#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows)
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows)
#define VIBEE_DKERNEL(symbol, technique, isa, order) extern const DenseCode symbol;
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL

std::span<const DenseKernel> dense_kernels();
/// The best canonical (fma_k) row not above an instruction set.
const DenseKernel& dense_kernel(Isa isa);

}  // namespace vibee
