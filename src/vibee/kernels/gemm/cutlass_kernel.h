// SPDX-License-Identifier: Apache-2.0
// The kernels of dense products on V16: packing, register tiles of M rows x P panels, the epilogue of a tile. Included
// by cutlass_gemm_<isa>.cc alone, which say how large a tile is: 14 x 32 of 32 registers (AVX-512), 6 x 16 of 16
// (AVX2).
#pragma once

#include <utility>

#include "vibee/base/math/half.h"
#include "vibee/kernels/gemm/dense_kernel.h"
#include "vibee/kernels/gemm/fgemm.h"
#include "vibee/kernels/pointwise/activated.h"

namespace vibee {
namespace {

// What is read in order is asked for earlier than the processor guesses: bytes of a panel (one core read panels of 64
// MB half as fast again for 8 rows, Zen 5, 2026-11-29), elements of a stored row, and stored rows, which may be pages
// apart.
constexpr uint32_t kAheadPanel = 8192, kAheadAlong = 192, kAheadAcross = 32;
constexpr uint32_t kGroup = 4, kAheadGroup = 16;  // panels that are packed side by side

/// Of an address that need not be anybody's.
inline void prefetch(const void* p, uint64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const void*>(uintptr_t(p) + bytes));
}
inline uint64_t bytes_of(Format f) { return f == Format::f32 ? 4 : 2; }

template <Format F, uint32_t M, uint32_t P>
void dense_tile(const float* a, const uint8_t* b, uint64_t panel, uint32_t k, const float* from, uint64_t from_ld,
                float* to, uint64_t to_ld) {
  constexpr uint32_t kStep = kDensePanel * (F == Format::f32 ? 4 : 2);
  V16 acc[M][P];
  if (from == nullptr) {
#pragma GCC unroll 32
    for (uint32_t m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (uint32_t p = 0; p < P; ++p) acc[m][p] = v_zero();
  } else {
#pragma GCC unroll 32
    for (uint32_t m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (uint32_t p = 0; p < P; ++p) acc[m][p] = v_load(from + m * from_ld + 16 * p);
  }
  for (uint32_t i = 0; i < k; ++i, a += M, b += kStep) {
    V16 w[P];
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) w[p] = load_weights<F>(b + p * panel);
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) prefetch(b + p * panel, kAheadPanel);
#pragma GCC unroll 32
    for (uint32_t m = 0; m < M; ++m) {
      const V16 x = v_broadcast(a + m);
#pragma GCC unroll 2
      for (uint32_t p = 0; p < P; ++p) acc[m][p] = v_fma(x, w[p], acc[m][p]);
    }
  }
#pragma GCC unroll 32
  for (uint32_t m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (uint32_t p = 0; p < P; ++p) v_store(to + m * to_ld + 16 * p, acc[m][p]);
}

template <Format F, uint32_t P, uint32_t... I>
DenseTile tile_of(uint32_t rows, std::integer_sequence<uint32_t, I...>) {
  static constexpr DenseTile kTiles[] = {dense_tile<F, I + 1, P>...};
  return kTiles[rows - 1];
}
template <uint32_t P, uint32_t kRows>
DenseTile tile_of_format(Format b, uint32_t rows) {
  constexpr std::make_integer_sequence<uint32_t, kRows> kAll{};
  return b == Format::f32   ? tile_of<Format::f32, P>(rows, kAll)
         : b == Format::f16 ? tile_of<Format::f16, P>(rows, kAll)
                            : tile_of<Format::bf16, P>(rows, kAll);
}
/// Tiles of two panels for up to kRows rows (0: none), of one for up to kSingle.
template <uint32_t kRows, uint32_t kSingle>
DenseTile choose_tile(Format b, uint32_t rows, uint32_t panels) {
  if constexpr (kRows > 0)
    if (panels == 2) return tile_of_format<2, kRows>(b, rows);
  return tile_of_format<1, kSingle>(b, rows);
}

inline V16 load_element(Format f, const void* p, uint64_t at) {
  return f == Format::f32    ? v_load(static_cast<const float*>(p) + at)
         : f == Format::bf16 ? v_load_bf16(static_cast<const uint16_t*>(p) + at)
                             : v_load_half(static_cast<const uint16_t*>(p) + at);
}
inline float element_at(Format f, const void* p, uint64_t at) {
  return f == Format::f32    ? static_cast<const float*>(p)[at]
         : f == Format::bf16 ? bf16_to_float(static_cast<const uint16_t*>(p)[at])
                             : half_to_float(static_cast<const uint16_t*>(p)[at]);
}
/// k runs along the stored rows: blocks of 16 x 16 go through a tile on the stack, so that each cache line is touched
/// once however the rows alias, and are transposed four columns at a time.
void pack_along(const void* from, Format f, uint64_t ld, uint32_t width, uint32_t k, uint32_t step, float* out) {
  alignas(64) float tile[16][16] = {};
  for (uint32_t i = 0; i < k; i += 16) {
    const uint32_t some = k - i < 16 ? k - i : 16;
    if (some == 16) {
      for (uint32_t r = 0; r < width; ++r) {
        v_store(tile[r], load_element(f, from, r * ld + i));
        prefetch(from, (r * ld + i + kAheadAlong) * bytes_of(f));
      }
    } else {
      for (uint32_t r = 0; r < width; ++r)
        for (uint32_t j = 0; j < some; ++j) tile[r][j] = element_at(f, from, r * ld + i + j);
    }
    for (uint32_t j = 0; j < some; j += 4) {
      V16 t[4];
      for (uint32_t r = 0; r < 4; ++r)
        t[r] = v_load_4x4(&tile[r][j], &tile[4 + r][j], &tile[8 + r][j], &tile[12 + r][j]);
      v_transpose_4x4(t[0], t[1], t[2], t[3]);
      for (uint32_t r = 0; r < 4 && j + r < some; ++r) v_store(out + uint64_t(i + j + r) * step, t[r]);
    }
  }
}

/// k runs across the stored rows: each gives its 16 lanes.
void pack_across(const void* from, Format f, uint64_t ld, uint32_t width, uint64_t readable, uint32_t k, uint32_t step,
                 float* out) {
  const M16 valid = m_from_bits((1u << width) - 1);
  for (uint32_t i = 0; i < k; ++i, out += step) {
    if (readable >= 16) {
      prefetch(from, (i + kAheadAcross) * ld * bytes_of(f));
      v_store(out, v_select(valid, load_element(f, from, i * ld), v_zero()));
    } else {
      for (uint32_t r = 0; r < 16; ++r) out[r] = r < width ? element_at(f, from, i * ld + r) : 0.0f;
    }
  }
}

void dense_pack(const void* from, Format element, uint64_t ld, bool along, uint32_t width, uint64_t readable,
                uint32_t k, uint32_t step, float* out) {
  if (along)
    pack_along(from, element, ld, width, k, step, out);
  else
    pack_across(from, element, ld, width, readable, k, step, out);
}

/// Panels side by side, so that more than a cache line is taken of a stored row at a time.
void pack_across_group(const void* from, Format f, uint64_t ld, uint32_t k, float* out) {
  for (uint32_t i = 0; i < k; ++i, out += kDensePanel)
#pragma GCC unroll 8
    for (uint32_t p = 0; p < kGroup; ++p) {
      prefetch(from, ((i + kAheadGroup) * ld + p * kDensePanel) * bytes_of(f));
      v_store(out + uint64_t(p) * k * kDensePanel, load_element(f, from, i * ld + p * kDensePanel));
    }
}

void dense_pack_panels(const void* from, Format element, uint64_t ld, bool along, uint32_t columns, uint32_t k,
                       float* out) {
  for (uint32_t j = 0; j < columns;) {
    const uint32_t left = columns - j;
    const uint8_t* first = static_cast<const uint8_t*>(from) + (along ? j * ld : j) * bytes_of(element);
    if (!along && left >= kGroup * kDensePanel) {
      pack_across_group(first, element, ld, k, out + uint64_t(j) * k);
      j += kGroup * kDensePanel;
    } else {
      dense_pack(first, element, ld, along, left < kDensePanel ? left : kDensePanel, left, k, kDensePanel,
                 out + uint64_t(j) * k);
      j += kDensePanel;
    }
  }
}

void dense_finish(const DenseFinish& f, const float* tile, uint64_t ld, uint32_t row, uint32_t m, uint32_t column,
                  uint32_t n) {
  for (uint32_t j = 0; j < n; j += 16) {
    const int some = int(n - j);
    const V16 bias = f.bias ? v_load_n(f.bias + column + j, some) : v_zero();
    V16 sum = f.column_sum && row > 0 ? v_load_n(f.column_sum + column + j, some) : v_zero();
    for (uint32_t i = 0; i < m; ++i) {
      const uint64_t at = (row + i) * f.ld + column + j;
      V16 v = v_load_n(tile + i * ld + j, some) * v_set(f.alpha);
      if (f.c) v = v_fma(v_set(f.beta), v_load_n(f.c + at, some), v);
      if (f.bias) v = v + bias;
      if (f.pre) v_store_n(f.pre + at, v, some);
      if (f.activation) v = activated(*f.activation, v);
      if (f.residual) v = v + v_load_n(f.residual + at, some);
      v_store_n(f.d + at, v, some);
      sum = sum + v;
    }
    if (f.column_sum) v_store_n(f.column_sum + column + j, sum, some);
  }
}

}  // namespace
}  // namespace vibee
