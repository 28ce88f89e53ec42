// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "vibee/hw/device/probe.h"

namespace vibee {

double probe_int8_amx(uint64_t rounds, int32_t* sink) {
  struct alignas(64) Shapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static constexpr Shapes kShapes;
  alignas(64) int32_t some[16 * 16] = {};
  some[0] = *sink;
  _tile_loadconfig(&kShapes);
  _tile_loadd(4, some, 64);
  _tile_loadd(5, some, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (uint64_t r = 0; r < rounds; ++r) {
    _tile_dpbssd(0, 4, 5);
    _tile_dpbssd(1, 4, 5);
    _tile_dpbssd(2, 4, 5);
    _tile_dpbssd(3, 4, 5);
  }
  _tile_stored(0, some, 64);
  _tile_release();
  *sink = some[0];
  return double(rounds) * 4 * 16 * 16 * 64 * 2;
}

}  // namespace vibee
