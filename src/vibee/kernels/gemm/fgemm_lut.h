// SPDX-License-Identifier: Apache-2.0
// The float micro-kernel of formats of tables (lut3 .. lut8), on V16: lanes are neighbours along k of one row, whose
// codes are looked up in the row's table. Order fma_16: sixteen chains of fma(x, w) over ascending k, chain l of k = l,
// 16 + l, ..., then v_sum, so the bits do not depend on the tile, the instruction set or the number of rows.
#pragma once

#include <cstring>
#include <utility>

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

/// Code `J` of the sixteen streams that begin at `words`; bits above the code's are of others.
template <uint32_t kBits, uint32_t J>
inline U16 streamed_codes(const uint8_t* words) {
  constexpr uint32_t kAt = J * kBits, kShift = kAt % 32;
  const U16 low = u_right<kShift>(u_load(words + kAt / 32 * 64));
  if constexpr (kShift + kBits > 32) return low | u_left<32 - kShift>(u_load(words + (kAt / 32 + 1) * 64));
  return low;
}
template <uint32_t kBits, uint32_t... J>
inline void look_up_streams(std::integer_sequence<uint32_t, J...>, const uint8_t* words, const float* table, float* w) {
  (v_store(w + 16 * J, v_table<kBits>(streamed_codes<kBits, J>(words), table)), ...);
}
/// The values of a block of 32 in planes.
template <uint32_t kBits>
inline void look_up_planes(const uint8_t* block, const float* table, float* w) {
  for (uint32_t half = 0; half < 2; ++half) {
    U16 codes = u_zero();
    for (uint32_t p = 0; p < kBits; ++p) {
      uint16_t bits;
      std::memcpy(&bits, block + 4 * p + 2 * half, 2);
      codes = u_append_bits(codes, bits);
    }
    v_store(w + 16 * half, v_table<kBits>(codes, table));
  }
}

/// acc[m] += x * w over n k, sixteen chains.
template <uint32_t M>
void add_products(const float* w, uint32_t n, const float* x, uint64_t stride, float* acc) {
  V16 sum[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) sum[m] = v_load(acc + 16 * m);
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 weights = v_load(w + i);
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m) sum[m] = v_fma(v_load(x + m * stride + i), weights, sum[m]);
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) v_store(acc + 16 * m, sum[m]);
}
using AddProductsFn = void (*)(const float*, uint32_t, const float*, uint64_t, float*);

/// A stretch of a row's values is looked up once and meets all rows of x while it is in the nearest cache.
template <uint32_t kBits>
inline void table_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out,
                       AddProductsFn add) {
  alignas(64) float table[kBits == 3 ? 16 : 1 << kBits], w[kStreamed], acc[kActMaxGroup * 16];
  for (uint32_t r = 0; r < 16; ++r) {
    for (uint32_t i = 0; i < 1u << kBits; i += 16) {
      uint16_t halves[16] = {};  // a table of three bits has eight
      std::memcpy(halves, panel + 2 * i, kBits == 3 ? 16 : 32);
      v_store(table + i, v_load_half(halves));
    }
    panel += table_bytes(kBits);
    std::memset(acc, 0, m * 16 * sizeof(float));
    uint32_t at = 0;
    for (; at + kStreamed <= k; at += kStreamed, panel += 64 * kBits) {
      look_up_streams<kBits>(std::make_integer_sequence<uint32_t, kStreamed / 16>{}, panel, table, w);
      add(w, kStreamed, x + at, stride, acc);
    }
    const uint32_t left = k - at;
    for (uint32_t i = 0; i < left; i += 32, panel += 4 * kBits) look_up_planes<kBits>(panel, table, w + i);
    if (left > 0) add(w, left, x + at, stride, acc);
    for (uint32_t i = 0; i < m; ++i) out[i * 16 + r] = v_sum(v_load(acc + 16 * i));
  }
}

template <uint32_t kBits, uint32_t... I>
inline void table_dispatch(uint32_t m, std::integer_sequence<uint32_t, I...>, const uint8_t* panel, uint32_t k,
                           const float* x, uint64_t stride, float* out) {
  static constexpr AddProductsFn kAdd[] = {add_products<I + 1>...};
  table_tile<kBits>(panel, k, x, stride, m, out, kAdd[m - 1]);
}

}  // namespace
}  // namespace vibee
