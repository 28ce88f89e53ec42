// SPDX-License-Identifier: Apache-2.0
// Products in bf16 on vectors of floats: a panel of b is [depth][16] bf16, a tile of a [depth][kRows] floats. Included
// by bf16_gemm_<isa>.cc, which says how many rows a tile has.
#pragma once

#include <utility>

#include "vibee/kernels/gemm/bf16_code.h"
#include "vibee/kernels/gemm/load_numbers.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vibee {
namespace {

template <uint32_t kRows, uint32_t M>
void bf16_tile(const uint8_t* packed, const uint8_t* panel, uint64_t, uint32_t depth, const TileFinish& to) {
  const auto* a = reinterpret_cast<const float*>(packed);
  const auto* b = reinterpret_cast<const uint16_t*>(panel);
  V16 sum[M];
#pragma GCC unroll 8
  for (uint32_t m = 0; m < M; ++m) sum[m] = to.goes_on ? v_load_n(to.d + m * to.ld, int(to.columns)) : v_zero();
  for (uint32_t block = 0; block < depth; block += kBf16Block) {
    const uint32_t n = depth - block < kBf16Block ? depth - block : kBf16Block;
    V16 even[M], odd[M];
#pragma GCC unroll 8
    for (uint32_t m = 0; m < M; ++m) even[m] = odd[m] = v_zero();
    uint32_t k = 0;
    for (; k + 2 <= n; k += 2, a += 2 * kRows, b += 32) {
      const V16 first = v_load_bf16(b), second = v_load_bf16(b + 16);
#pragma GCC unroll 8
      for (uint32_t m = 0; m < M; ++m) {
        even[m] = v_fma(v_set(a[m]), first, even[m]);
        odd[m] = v_fma(v_set(a[kRows + m]), second, odd[m]);
      }
    }
    if (k < n) {
      const V16 first = v_load_bf16(b);
#pragma GCC unroll 8
      for (uint32_t m = 0; m < M; ++m) even[m] = v_fma(v_set(a[m]), first, even[m]);
    }
#pragma GCC unroll 8
    for (uint32_t m = 0; m < M; ++m) sum[m] = sum[m] + (even[m] + odd[m]);
  }
#pragma GCC unroll 8
  for (uint32_t m = 0; m < M; ++m) v_store_n(to.d + m * to.ld, sum[m], int(to.columns));
}
template <uint32_t kRows, uint32_t... I>
inline PackedTile bf16_tile_of(uint32_t rows, std::integer_sequence<uint32_t, I...>) {
  static constexpr PackedTile kTiles[] = {bf16_tile<kRows, I + 1>...};
  return kTiles[rows - 1];
}
template <uint32_t kRows>
PackedTile bf16_choose(uint32_t rows, uint32_t) {
  return bf16_tile_of<kRows>(rows, std::make_integer_sequence<uint32_t, kRows>{});
}

/// Sixteen rows beside each other, whichever way the operand lies: number k of each, rounded.
inline void bf16_column(const ProductOperand& x, uint32_t first, uint32_t rows, uint32_t k, uint16_t* out) {
  v_store_bf16(out, load_some(x.element, x.p, k * x.ld + first, rows));
}

void bf16_pack_panel(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t, const float*, uint8_t* codes,
                     float*, int32_t*) {
  const uint32_t rows = x.rows - first < width ? x.rows - first : width;
  auto* const to = reinterpret_cast<uint16_t*>(codes);
  if (x.across) {
    for (uint32_t k = 0; k < x.depth; ++k) bf16_column(x, first, rows, k, to + 16 * k);
    return;
  }
  if (rows < width) std::memset(codes, 0, 32 * uint64_t(x.depth));
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t k = 0; k < x.depth; k += 16) {
      uint16_t some[16];
      v_store_bf16(some, load_some(x.element, x.p, (first + r) * x.ld + k, x.depth - k));
      for (uint32_t i = 0; i < 16 && k + i < x.depth; ++i) to[16 * (k + i) + r] = some[i];
    }
}
void bf16_pack_rows(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t, const float*, uint8_t* codes,
                    float*, int32_t*) {
  const uint32_t rows = x.rows - first < width ? x.rows - first : width;
  auto* const to = reinterpret_cast<float*>(codes);
  for (uint32_t r = 0; r < (x.across ? 1 : rows); ++r)
    for (uint32_t k = 0; k < x.depth; k += x.across ? 1 : 16) {
      uint16_t some[16];
      float numbers[16];
      if (x.across)
        bf16_column(x, first, rows, k, some);
      else
        v_store_bf16(some, load_some(x.element, x.p, (first + r) * x.ld + k, x.depth - k));
      v_store(numbers, v_load_bf16(some));
      if (x.across) std::memcpy(to + uint64_t(k) * width, numbers, 4 * rows);
      for (uint32_t i = 0; !x.across && i < 16 && k + i < x.depth; ++i) to[uint64_t(k + i) * width + r] = numbers[i];
    }
}

/// Subnormal numbers count as zeros between the two.
uint32_t bf16_begin() {
#if defined(__x86_64__)
  const uint32_t before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  return before;
#else
  return 0;
#endif
}
void bf16_end([[maybe_unused]] uint32_t before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
}

template <uint32_t kRows>
constexpr TileCode bf16_code() {
  return {kRows, 1, 1, 4, 0, bf16_choose<kRows>, nullptr, bf16_pack_panel, bf16_pack_rows, bf16_begin, bf16_end};
}

}  // namespace
}  // namespace vibee
