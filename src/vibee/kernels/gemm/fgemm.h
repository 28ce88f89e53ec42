// SPDX-License-Identifier: Apache-2.0
// The float micro-kernel, on V16: M rows x 16 outputs, out = sum over ascending k of fma(x, w). One chain an output, so
// the bits do not depend on the tile, the instruction set or the number of rows. fgemm_<isa>.cc instantiates it.
#pragma once

#include <utility>

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

template <Format F>
inline V16 load_weights(const uint8_t* p) {
  if constexpr (F == Format::f32) return v_load(reinterpret_cast<const float*>(p));
  if constexpr (F == Format::f16) return v_load_half(reinterpret_cast<const uint16_t*>(p));
  if constexpr (F == Format::bf16) return v_load_bf16(reinterpret_cast<const uint16_t*>(p));
}

template <Format F, uint32_t M>
void float_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, float* out) {
  constexpr uint32_t kStep = 16 * (F == Format::f32 ? 4 : 2);
  V16 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = v_zero();
  for (uint32_t i = 0; i < k; ++i, panel += kStep) {
    const V16 w = load_weights<F>(panel);
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m) acc[m] = v_fma(v_broadcast(x + m * stride + i), w, acc[m]);
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) v_store(out + 16 * m, acc[m]);
}

using FloatTileFn = void (*)(const uint8_t*, uint32_t, const float*, uint64_t, float*);
template <Format F, uint32_t... I>
inline void float_dispatch(uint32_t m, std::integer_sequence<uint32_t, I...>, const uint8_t* panel, uint32_t k,
                           const float* x, uint64_t stride, float* out) {
  static constexpr FloatTileFn kTiles[] = {float_tile<F, I + 1>...};
  kTiles[m - 1](panel, k, x, stride, out);
}

}  // namespace
}  // namespace vibee
