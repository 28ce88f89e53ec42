// SPDX-License-Identifier: Apache-2.0
// What the kernels of float_panel_gemm_block.inc take: products and rows of weights whose panels of 16 rows hold floats
// in few bits behind scales (panel.h: e4m3, e5m2, e2m3, e3m2, nf4, fp4). Names and launches: float_panel_gemm_shape.h.
#pragma once

#include "vibee/kernels/gemm/gemm_launch.h"

namespace vibee {

/// How a code of 32 k lies in a block: a byte, a nibble beside that of sixteen k behind, or with two bits of a byte
/// more.
enum class FloatCodes : uint32_t { bytes, nibbles, six };

/// A format's panels of 16 rows of k elements, in numbers. Blocks have 32 k.
struct FloatPanelForm {
  uint64_t stride = 0;             ///< bytes of a panel
  uint32_t blocks = 0;             ///< of a row
  uint32_t superblock = 0;         ///< blocks behind a header
  uint32_t header = 0, codes = 0;  ///< bytes of a header, and of the codes of a block
  FloatCodes kind = FloatCodes::bytes;
  bool powers = false;  ///< scales are powers of two, a byte each (E8M0), else f32
  /// A code is `by` times the half whose sign is the code's bit `sign` and whose other bits are those below, moved left
  /// by `shift`; of `named`, the value that it names.
  uint32_t sign = 0, shift = 0;
  float by = 1;
  bool named = false;
  float values[16] = {};
};

/// D = rows * weight^T with the epilogue of gemm_launch.h. `product.a` are m rows of k floats, `product.b` the panels
/// of n rows, beginning at a multiple of 16 bytes; leading dimension and stride of the latter are not read. A sum is
/// the chain of fma over ascending k, with the bytes of the CPU's kernels (fgemm.h).
struct FloatPanelGemmArgs {
  GemmArgs product;
  FloatPanelForm panel;
};

/// out[r][0..k) = `by` * row ids[r] of the `count` rows in panels; of an id that they do not have, zeros.
struct FloatPanelEmbedArgs {
  const int32_t* ids = nullptr;
  const void* panels = nullptr;
  float* out = nullptr;
  uint32_t count = 0;
  float by = 1;
  FloatPanelForm panel;
};

}  // namespace vibee
