// SPDX-License-Identifier: Apache-2.0
// Tensor maps in block tests: of the device where there is one (device_trial.h), else the shim's.
#pragma once

#include <cstring>

#include "vibee/core/device/tensor_map.h"
#include "vibee/kit/device_trial.h"
#include "vibee/kit/tensor_tiles.h"

namespace vibee {

inline Result<TensorMap> trial_tensor_map(const TensorTile& t) {
  if (DeviceTrial* const device = DeviceTrial::instance()) return tensor_map(device->device(), t);
  const TensorTiles tiles{
      .base = t.base, .columns = t.columns, .rows = t.rows, .row_bytes = t.ld * 2, .box_rows = t.box_rows};
  TensorMap map = {};
  std::memcpy(&map, &tiles, sizeof tiles);
  return map;
}

}  // namespace vibee
