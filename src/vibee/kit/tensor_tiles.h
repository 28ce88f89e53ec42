// SPDX-License-Identifier: Apache-2.0
// The host's tensor map: what the host's driver writes into a TensorMap and the shim reads there.
#pragma once

#include <cstdint>

#include "vibee/core/device/block.h"

namespace vibee {

/// A matrix of 16-bit elements and the boxes that are copied from it, whose rows are 128 bytes.
struct TensorTiles {
  static constexpr uint64_t kMark = 0x7654656e736f724dull;
  uint64_t mark = kMark;
  uint64_t base = 0;  ///< address
  uint64_t columns = 0, rows = 0;
  uint64_t row_bytes = 0;  ///< from one row to the next
  uint64_t box_rows = 0;
};
static_assert(sizeof(TensorTiles) <= sizeof(TensorMap));
constexpr uint32_t kBoxColumns = 64;

}  // namespace vibee
