// SPDX-License-Identifier: Apache-2.0
// The float micro-kernel, on V16: M rows x 16 outputs, out = sum over ascending k of fma(x, w). One chain an output, so
// the bits do not depend on the tile, the instruction set or the number of rows. fgemm_<isa>.cc instantiates it.
#pragma once

#include <utility>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/float/nf4_quantization.h"
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

/// The values of sixteen rows at k = 8 kQuarter + i of a 32-block.
template <Codes C, uint32_t kQuarter>
inline V16 load_codes(const uint8_t* block, uint32_t i) {
  constexpr bool kHigh = kQuarter >= 2;
  const uint8_t *bytes = block + 16 * (8 * kQuarter + i), *nibbles = block + 16 * (8 * (kQuarter % 2) + i),
                *pairs = block + 16 * (16 + i);
  // Minifloats as the bits of halves, which are smaller by a power of two.
  if constexpr (C == Codes::e4m3) return v_load_minifloat<0x80, 7>(bytes) * v_set(0x1p8f);
  if constexpr (C == Codes::e5m2) return v_load_minifloat<0x80, 8>(bytes);
  if constexpr (C == Codes::e2m3) return v_load_minifloat6<7, kHigh, 2 * kQuarter>(nibbles, pairs) * v_set(0x1p14f);
  if constexpr (C == Codes::e3m2) return v_load_minifloat6<8, kHigh, 2 * kQuarter>(nibbles, pairs) * v_set(0x1p12f);
  if constexpr (C == Codes::nf4) return v_look_up<kHigh>(nibbles, kNf4Values);
  if constexpr (C == Codes::fp4) return v_look_up<kHigh>(nibbles, kBnbFp4Values);
}

template <Format F, uint32_t M>
void scaled_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, float* out) {
  constexpr PanelLayout kLayout = panel_layout(F);
  constexpr uint32_t kGroup = superblock(kLayout.header);
  V16 acc[M];
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) acc[m] = v_zero();
  const auto step = [&](V16 w, uint32_t i) {
#pragma GCC unroll 12
    for (uint32_t m = 0; m < M; ++m) acc[m] = v_fma(v_broadcast(x + m * stride + i), w, acc[m]);
  };
  for (uint32_t at = 0; at < k; at += kGroup) {
    const V16 scale =
        kLayout.header == PanelHeader::e8 ? v_load_e8m0(panel) : v_load(reinterpret_cast<const float*>(panel));
    panel += header_bytes(kLayout.header, 16);
    for (uint32_t i = at; i < at + kGroup; i += 32, panel += code_bytes(kLayout.codes, 16)) {
      for (uint32_t j = 0; j < 8; ++j) step(scale * load_codes<kLayout.codes, 0>(panel, j), i + j);
      for (uint32_t j = 0; j < 8; ++j) step(scale * load_codes<kLayout.codes, 1>(panel, j), i + 8 + j);
      for (uint32_t j = 0; j < 8; ++j) step(scale * load_codes<kLayout.codes, 2>(panel, j), i + 16 + j);
      for (uint32_t j = 0; j < 8; ++j) step(scale * load_codes<kLayout.codes, 3>(panel, j), i + 24 + j);
    }
  }
#pragma GCC unroll 12
  for (uint32_t m = 0; m < M; ++m) v_store(out + 16 * m, acc[m]);
}

template <Format F, uint32_t M>
void float_tile(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, float* out) {
  if constexpr (is_scaled_float(F)) return scaled_tile<F, M>(panel, k, x, stride, out);
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
