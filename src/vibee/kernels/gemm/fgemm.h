// SPDX-License-Identifier: Apache-2.0
// The float micro-kernel, on V16: M rows x 16 outputs, out = sum over ascending k of fma(x, w). One chain an output, so
// the bits do not depend on the tile, the instruction set or the number of rows. fgemm_<isa>.cc instantiates it.
#pragma once

#include <utility>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/codebook/tables.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

template <Format F>
inline V16 load_weights(const uint8_t* p) {
  if constexpr (F == Format::f32) return v_load(reinterpret_cast<const float*>(p));
  if constexpr (F == Format::f16) return v_load_half(reinterpret_cast<const uint16_t*>(p));
  if constexpr (F == Format::bf16) return v_load_bf16(reinterpret_cast<const uint16_t*>(p));
  return v_zero();  // of no other
}

/// Sixteen scaled values of a group: of codes at `p`, in the high nibbles where `kHigh`.
template <Codes C, bool kHigh>
inline V16 load_codes(const uint8_t* p) {
  if constexpr (C == Codes::e4m3) return v_load_e4m3(p);
  if constexpr (C == Codes::nf4) return v_look_up<kHigh>(p, kNf4Values);
  if constexpr (C == Codes::fp4) return v_look_up<kHigh>(p, kBnbFp4Values);
}

template <Format F, uint32_t M>
void scaled_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr uint32_t kGroup = superblock(kLayout.header), kHalf = kLayout.codes == Codes::e4m3 ? 32 : 16;
  V16 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = v_zero();
  const auto step = [&](V16 w, uint32_t i) {
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m) acc[m] = v_fma(v_broadcast(x + m * stride + i), w, acc[m]);
  };
  for (uint32_t at = 0; at < k; at += kGroup) {
    const V16 scale = v_load(reinterpret_cast<const float*>(panel));
    panel += header_bytes(kLayout.header, 16);
    for (uint32_t i = at; i < at + kGroup; i += 32, panel += 16 * kHalf) {
      for (uint32_t j = 0; j < kHalf; ++j) step(scale * load_codes<kLayout.codes, false>(panel + 16 * j), i + j);
      for (uint32_t j = kHalf; j < 32; ++j)
        step(scale * load_codes<kLayout.codes, true>(panel + 16 * (j - kHalf)), i + j);
    }
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) v_store(out + 16 * m, acc[m]);
}

template <Format F, uint32_t M>
void float_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, float* out) {
  if constexpr (has_float_scales(panel_layout(F).header)) return scaled_tile<F, M>(panel, k, x, stride, out);
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
