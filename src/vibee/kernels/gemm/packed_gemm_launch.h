// SPDX-License-Identifier: Apache-2.0
// What the kernels of packed_gemm_block.inc take: products and rows of weights that lie in the CPU's panels of 16 rows
// (panel.h, byte for byte), and the rows quantised for them. Names and launches: packed_gemm_shape.h.
#pragma once

#include "vibee/kernels/gemm/grouped_launch.h"

namespace vibee {

/// What the header of a superblock holds; the letters are those of panel.h, without lengths.
enum class PanelScales : uint32_t { half, half_offset, e8, e4, k, k2, k6, ks, whole, whole_zero, whole_offset, row };
/// How codes are kept, which kernels differ by: nibbles, parts of 4, 2 and 1 bits, nibbles that name values, bytes.
enum class PanelCodes : uint32_t { nibbles, parts, named, bytes };

/// A format's panels of 16 rows of k elements, in numbers: panel_form (packed_gemm_shape.h) fills it. Blocks have 32 k.
struct PanelForm {
  uint64_t stride = 0;             ///< bytes of a panel
  uint32_t blocks = 0;             ///< of a row
  uint32_t superblock = 0;         ///< blocks behind a header
  uint32_t header = 0, codes = 0;  ///< bytes of a header, and of the codes of a block
  uint32_t kept_from = 0;          ///< the first block whose codes have eight bits; none: blocks
  uint32_t tail = 0;               ///< byte of a panel where what stands behind the superblocks begins
  uint32_t chain = 1;              ///< blocks whose sums meet as integers before a scale; all of a row's: row_sum
  uint32_t zero = 0;               ///< of unsigned codes where the header has none
  uint32_t values[4] = {};         ///< of PanelCodes::named, sixteen signed bytes
  int32_t pair_bit = -1, single_bit = -1;
  PanelScales scales = PanelScales::half;
  PanelCodes kind = PanelCodes::nibbles;
  bool nibbles = true;                 ///< of PanelCodes::parts
  bool halves = false, split = false;  ///< sixteen k have an integer scale, or a float one, of their own
  bool has_min = false;                ///< a float offset
  bool row_sum = false, row_scale = false;
};

/// D = rows * weight^T with the epilogue of gemm_launch.h. `product.a` are the m rows as quantize_rows leaves them,
/// `product.b` the panels of n rows, beginning at a multiple of 16 bytes; leading dimensions and strides of both are
/// not read. Sums have the bytes of the CPU's kernels of order int_block32 and int_row (gemm.h).
struct PackedGemmArgs {
  GemmArgs product;
  PanelForm panel;
};

/// The same by experts, whose panels lie one behind the other; of `grouped` route and stride_b are not read.
struct PackedGroupedArgs {
  GroupedArgs grouped;
  PanelForm panel;
};

/// rows of k floats, one behind another, become records of act.h in groups of one row: [row][k / 32]{q[32], da, das,
/// ns, ns0}, 48 bytes each, with the bytes of quantize_row.h. `group` elements share a scale (k: all of a row's);
/// of `four_bits`, those from `kept_from` elements on have eight.
struct QuantizeRowsArgs {
  const float* x = nullptr;
  void* records = nullptr;
  uint32_t k = 0, group = 32;
  uint32_t four_bits = 0, kept_from = 0;
};

/// out[r][0..k) = `by` * row ids[r] of the `count` rows in panels; of an id that they do not have, zeros.
struct PackedEmbedArgs {
  const int32_t* ids = nullptr;
  const void* panels = nullptr;
  float* out = nullptr;
  uint32_t count = 0;
  float by = 1;
  PanelForm panel;
};

}  // namespace vibee
