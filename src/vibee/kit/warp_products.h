// SPDX-License-Identifier: Apache-2.0
// What a warp's registers hold in ldmatrix and mma.sync (PTX ISA 9.0, sections 9.7.15.5.8, "Matrix fragments for
// mma.m16n8k16 with floating point type" and ".m16n8k32", 9.7.15.5.15, "ldmatrix"), and the products themselves.
#pragma once

#include <cstdint>

namespace vibee {

/// What is multiplied; sums are in f32, of s8 in s32 (modulo 2^32).
enum class WarpProduct { bf16, f16, s8 };

/// Row and column of an element of a fragment. For 16-bit operands a register holds 2 elements, for s8 4; `i` counts
/// the elements of a lane. `a` is 16 x k, `b` is k x 8, the sums are 16 x 8; k is 16, of s8 32.
struct FragmentPlace {
  uint32_t row, column;
};
constexpr FragmentPlace a_place(uint32_t lane, uint32_t i, uint32_t a_register) {
  const uint32_t word = i / a_register;  // 1 and 3: rows 8 to 15; 2 and 3: the later half of k
  return {lane / 4 + word % 2 * 8, lane % 4 * a_register + i % a_register + word / 2 * 4 * a_register};
}
constexpr FragmentPlace b_place(uint32_t lane, uint32_t i, uint32_t a_register) {
  return {lane % 4 * a_register + i % a_register + i / a_register * 4 * a_register, lane / 4};
}
constexpr FragmentPlace sum_place(uint32_t lane, uint32_t i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }

/// Of an 8x8 matrix of 16-bit elements: element i (0 or 1) of a lane's register.
constexpr FragmentPlace matrix_place(uint32_t lane, uint32_t i, bool transposed) {
  const FragmentPlace plain{lane / 4, lane % 4 * 2 + i};
  return transposed ? FragmentPlace{plain.column, plain.row} : plain;
}

/// d += a * b for one warp; a[lane], b[lane] and d[lane] are the registers of a lane, sums as bits. Each sum goes over
/// ascending k, rounded to nearest even after every product.
void multiply_warp(WarpProduct kind, const uint32_t (*a)[4], const uint32_t (*b)[2], uint32_t (*d)[4]);

}  // namespace vibee
