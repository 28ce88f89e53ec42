// SPDX-License-Identifier: Apache-2.0
// Products of floats in 8-bit integers (SwitchBack: Wortsman et al., NeurIPS 2023, arXiv:2304.13013). An operand's row
// i (or all of it) has a scale s = largest / 127, its codes are q = RNE(x * (127 / largest)), and
//
//   d[i][j] = float(sum over k of qa[i][k] * qb[j][k]) * (sa[i] * sb[j])
//
// with the sum in int32, which is exact, so every instruction set has the bytes of int8_product_reference. Numbers
// whose largest is below 1e-35 count as zeros; a row (or operand) with a number that is not finite has a scale of NaN.
//
// a is packed and multiplied tile by tile by whoever computes its rows; b is packed before, so that weights are once a
// step: [rows / 16][depth / 4][16][4], as one instruction multiplies them, with room to a multiple of 64 of depth.
#pragma once

#include <span>

#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/kernels/gemm/packed_panels.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {

/// Beyond it a sum of products may not fit 32 bits.
inline constexpr uint32_t kInt8MostDepth = 131072;

/// What a scale is of.
enum class Int8Scale : uint8_t { row, tensor };

/// Bytes of a packed b.
uint64_t int8_panel_bytes(uint32_t rows, uint32_t depth);

/// The largest size of some rows of an operand; NaN where a number is not finite.
float int8_largest(const ProductOperand& x, Range rows, Isa isa);
/// Packs some panels of b. `largest`: of all of it where its rows share a scale, else negative.
void int8_pack(const ProductOperand& b, float largest, Range panels, Isa isa, const PackedPanels& out);

/// Bytes that a thread needs to multiply by b of this depth.
uint64_t int8_workspace(uint32_t depth, Isa isa);
/// Rows of a that one tile has: threads take whole tiles.
uint32_t int8_tile_rows(Isa isa);
/// Some rows of d (from a multiple of int8_tile_rows on, or all that are left) by one thread; a's scale is a row's.
void int8_product(const ProductOperand& a, const PackedPanels& b, Range rows, Isa isa, float* d, uint64_t d_row,
                  std::span<uint8_t> workspace);

/// Codes and scales of an operand by their definition: q[rows][depth], s[rows].
void int8_codes_reference(const ProductOperand& x, Int8Scale kind, int8_t* q, float* s);
/// The product by its definition.
void int8_product_reference(const ProductOperand& a, const ProductOperand& b, Int8Scale of_b, float* d, uint64_t d_row);

}  // namespace vibee
