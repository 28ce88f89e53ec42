// SPDX-License-Identifier: Apache-2.0
// Products of operands rounded to bf16, as tiles of AMX make them (Intel SDM, volume 2, TDPBF16PS): of each 32 elements
// of the depth the even ones are one chain of fused multiply-adds and the odd ones another, both from zero,
//
//   d[i][j] = sum over blocks of 32 of (even + odd), block behind block
//
// in float32, where subnormal numbers count as zeros. Every instruction set takes the sum in this order.
//
// a is packed and multiplied tile by tile by whoever computes its rows; b is packed before, so that weights are once a
// step.
#pragma once

#include <span>

#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/kernels/gemm/packed_panels.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {

/// Bytes of a packed b, and one in memory of the caller.
uint64_t bf16_panel_bytes(uint32_t rows, uint32_t depth);
PackedPanels bf16_panels(uint8_t* data, uint32_t rows, uint32_t depth);
/// Packs some panels of b.
void bf16_pack(const ProductOperand& b, Range panels, Isa isa, const PackedPanels& out);

/// Bytes that a thread needs to multiply by b of at most this depth.
uint64_t bf16_workspace(uint32_t depth, Isa isa);
/// Rows of a that one tile has: threads take whole tiles.
uint32_t bf16_tile_rows(Isa isa);
/// Some rows of d (from a multiple of bf16_tile_rows on, or all that are left) by one thread. `goes_on`: the sums begin
/// with what d holds, so that blocks of depth, multiples of 32 but for the last, follow one another.
void bf16_product(const ProductOperand& a, const PackedPanels& b, Range rows, Isa isa, float* d, uint64_t d_row,
                  std::span<uint8_t> workspace, bool goes_on = false);

/// The product by its definition.
void bf16_product_reference(const ProductOperand& a, const ProductOperand& b, float* d, uint64_t d_row);

}  // namespace vibee
