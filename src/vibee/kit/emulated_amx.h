// SPDX-License-Identifier: Apache-2.0
// The tiles of AMX in plain words (Intel SDM, volume 2: LDTILECFG, TDPBSSD, TDPBF16PS, VCVTNE2PS2BF16), for tests on a
// CPU without them; a shape that an instruction would refuse ends the program.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace vibee {
namespace {

struct EmulatedTiles {
  uint16_t bytes[8] = {};
  uint8_t rows[8] = {};
  uint8_t data[8][16][64] = {};
};
inline EmulatedTiles& emulated_tiles() {
  thread_local EmulatedTiles tiles;
  return tiles;
}
inline void emulated_tile_loadconfig(const void* config) {
  EmulatedTiles& t = emulated_tiles();
  const auto* c = static_cast<const uint8_t*>(config);
  if (c[0] != 1) std::abort();
  std::memcpy(t.bytes, c + 16, sizeof t.bytes);
  std::memcpy(t.rows, c + 48, sizeof t.rows);
  for (int i = 0; i < 8; ++i)
    if (t.bytes[i] > 64 || t.rows[i] > 16) std::abort();
  std::memset(t.data, 0, sizeof t.data);
}
inline void emulated_tile_zero(int tile) { std::memset(emulated_tiles().data[tile], 0, 1024); }
inline void emulated_tile_loadd(int tile, const void* base, uint64_t stride) {
  EmulatedTiles& t = emulated_tiles();
  if (t.rows[tile] == 0) std::abort();
  emulated_tile_zero(tile);
  for (int r = 0; r < t.rows[tile]; ++r)
    std::memcpy(t.data[tile][r], static_cast<const uint8_t*>(base) + r * stride, t.bytes[tile]);
}
inline void emulated_tile_stored(int tile, void* base, uint64_t stride) {
  EmulatedTiles& t = emulated_tiles();
  if (t.rows[tile] == 0) std::abort();
  for (int r = 0; r < t.rows[tile]; ++r)
    std::memcpy(static_cast<uint8_t*>(base) + r * stride, t.data[tile][r], t.bytes[tile]);
}
/// Signed bytes of a times bytes of b, four at a time, onto 32-bit sums.
template <class Element>
inline void emulated_tile_dp(int sums, int a, int b) {
  EmulatedTiles& t = emulated_tiles();
  if (t.rows[sums] != t.rows[a] || t.bytes[sums] != t.bytes[b] || t.bytes[a] != 4 * t.rows[b] || t.rows[a] == 0)
    std::abort();
  for (int m = 0; m < t.rows[sums]; ++m)
    for (int n = 0; n < t.bytes[sums] / 4; ++n) {
      uint32_t sum;
      std::memcpy(&sum, t.data[sums][m] + 4 * n, 4);
      for (int k = 0; k < t.bytes[a]; ++k)
        sum += uint32_t(int32_t(int8_t(t.data[a][m][k])) * int32_t(Element(t.data[b][k / 4][4 * n + k % 4])));
      std::memcpy(t.data[sums][m] + 4 * n, &sum, 4);
    }
}

/// Pairs of bf16: the first of all pairs and the second are chains of their own. Subnormal numbers are not flushed.
inline void emulated_tile_dpbf16(int sums, int a, int b) {
  EmulatedTiles& t = emulated_tiles();
  if (t.rows[sums] != t.rows[a] || t.bytes[sums] != t.bytes[b] || t.bytes[a] != 4 * t.rows[b] || t.rows[a] == 0)
    std::abort();
  const auto number = [](const uint8_t* at) {
    uint32_t bits = uint32_t(at[0]) << 16 | uint32_t(at[1]) << 24;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  };
  for (int m = 0; m < t.rows[sums]; ++m)
    for (int n = 0; n < t.bytes[sums] / 4; ++n) {
      float sum, chain[2] = {0, 0};
      std::memcpy(&sum, t.data[sums][m] + 4 * n, 4);
      for (int k = 0; k < t.rows[b]; ++k)
        for (int i = 0; i < 2; ++i)
          chain[i] = std::fma(number(t.data[a][m] + 4 * k + 2 * i), number(t.data[b][k] + 4 * n + 2 * i), chain[i]);
      sum += chain[0] + chain[1];
      std::memcpy(t.data[sums][m] + 4 * n, &sum, 4);
    }
}

/// Sixteen floats of b rounded to bf16 (AVX512_BF16), then those of a; NaN are not kept quiet.
inline __m512i emulated_cvtne2ps_pbh(const __m512& a, const __m512& b) {
  uint32_t x[32];
  uint16_t near[32];
  std::memcpy(x, &b, 64);
  std::memcpy(x + 16, &a, 64);
  for (int i = 0; i < 32; ++i) near[i] = uint16_t((x[i] + 0x7fff + (x[i] >> 16 & 1)) >> 16);
  __m512i packed;
  std::memcpy(&packed, near, 64);
  return packed;
}

}  // namespace
}  // namespace vibee

#undef _tile_zero
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) vibee::emulated_tile_loadconfig(config)
#define _tile_zero(tile) vibee::emulated_tile_zero(tile)
#define _tile_release() static_cast<void>(0)
#define _tile_loadd(tile, base, stride) vibee::emulated_tile_loadd(tile, base, stride)
#define _tile_stored(tile, base, stride) vibee::emulated_tile_stored(tile, base, stride)
#define _tile_dpbssd(sums, a, b) vibee::emulated_tile_dp<int8_t>(sums, a, b)
#define _tile_dpbsud(sums, a, b) vibee::emulated_tile_dp<uint8_t>(sums, a, b)
#define _mm512_cvtne2ps_pbh(a, b) vibee::emulated_cvtne2ps_pbh(a, b)
#define _tile_dpbf16ps(sums, a, b) vibee::emulated_tile_dpbf16(sums, a, b)
