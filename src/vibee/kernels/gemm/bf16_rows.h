// SPDX-License-Identifier: Apache-2.0
// Rows rounded to bf16 for products with integer weights by tiles of AMX (`--act bf16`; tree/precision.md S4): tiles of
// sixteen rows and 32 k, [rows / 16][k / 32][16][32]. Weights meet them decoded to bf16, too, and all of k is summed in
// a tile in the order of bf16_gemm.h. Only many rows at once gain by that, so fewer stay quantised, and what a row
// gives depends on how many stand beside it: outside the promise of equal bytes.
#pragma once

#include <cstdint>

namespace vibee {

/// So many rows pay for a panel that is decoded, and so many are multiplied at once.
inline constexpr uint32_t kBf16FromRows = 32, kBf16Tile = 64;

/// Bytes of `rows` rows of k elements (a multiple of 32).
constexpr uint64_t bf16_row_bytes(uint32_t rows, uint32_t k) { return uint64_t(rows + 15) / 16 * 16 * k * 2; }
/// Where 32 elements of a row lie.
inline uint16_t* bf16_row_block(uint8_t* rows, uint32_t k, uint32_t row, uint32_t block) {
  return reinterpret_cast<uint16_t*>(rows + (uint64_t(row / 16) * (k / 32) + block) * 1024 + row % 16 * 64);
}

}  // namespace vibee
