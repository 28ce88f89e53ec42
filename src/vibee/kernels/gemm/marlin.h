// SPDX-License-Identifier: Apache-2.0
// v1744: where Marlin keeps the codes and scales of a linear of four bits (Frantar et al. 2024, arXiv:2408.11743;
// marlin/__init__.py, Layer.pack): in the order in which the threads of an mma.m16n8k16 read them. Codes of runs of
// four tiles lie one run behind the other, those of 16 inputs and all outputs before those of the next 16; eight a
// word.
#pragma once

#include <array>
#include <cstdint>

namespace vibee {

inline constexpr uint32_t kMarlinTile = 16, kMarlinRun = 1024;  ///< four tiles of 16 x 16, side by side along n

/// Where in four tiles, [tile][k][n], the codes of a run come from.
inline constexpr std::array<uint16_t, kMarlinRun> kMarlinSource = [] {
  constexpr uint32_t kInterleaved[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of a word's nibbles
  std::array<uint16_t, kMarlinRun> out{};
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t tile = 0; tile < 4; ++tile)
      for (uint32_t i = 0; i < 8; ++i) {
        const uint32_t from = kInterleaved[i], half = from / 4, pair = from % 4;
        const uint32_t k = 2 * (lane % 4) + pair % 2 + 8 * (pair / 2), n = lane / 4 + 8 * half;
        out[32 * lane + 8 * tile + i] = uint16_t(256 * tile + kMarlinTile * k + n);
      }
  return out;
}();
/// Its inverse: where the code of (tile, k, n) lies in its run.
inline constexpr std::array<uint16_t, kMarlinRun> kMarlinPlace = [] {
  std::array<uint16_t, kMarlinRun> out{};
  for (uint32_t i = 0; i < kMarlinRun; ++i) out[kMarlinSource[i]] = uint16_t(i);
  return out;
}();
static_assert([] {  // every place once
  for (uint32_t i = 0; i < kMarlinRun; ++i)
    if (kMarlinSource[kMarlinPlace[i]] != i) return false;
  return true;
}());

/// Where the scale of output n lies in its group's row: permuted inside 64 of them, or where a group is a row, 32.
inline uint64_t marlin_scale_place(uint64_t n, bool whole) {
  if (!whole) return n / 64 * 64 + n % 8 * 8 + n % 64 / 8;
  constexpr uint32_t kOffsets[8] = {0, 1, 8, 9, 16, 17, 24, 25};
  for (uint32_t i = 0; i < 4; ++i)
    for (uint32_t j = 0; j < 8; ++j)
      if (2 * i + kOffsets[j] == n % 32) return n / 32 * 32 + 8 * i + j;
  return n;
}

}  // namespace vibee
