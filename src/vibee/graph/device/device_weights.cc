// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/device/device_weights.h"

#include <algorithm>
#include <cstring>

namespace vibee {

uint64_t device_row_bytes(const DeviceMatrix& matrix, uint32_t rows) {
  if (lies_in_rows(matrix.format)) return rows * matrix.row_bytes();
  return (rows + kDevicePanelRows - 1) / kDevicePanelRows * matrix.panels().stride();
}

void pack_device_rows(const DeviceMatrix& matrix, uint32_t rows, const uint8_t* from, uint8_t* to) {
  if (lies_in_rows(matrix.format)) {
    std::memcpy(to, from, device_row_bytes(matrix, rows));
    return;
  }
  for (uint32_t row = 0; row < rows; row += kDevicePanelRows)
    pack_panel(matrix.format, kDevicePanelRows, matrix.k, std::min(kDevicePanelRows, rows - row),
               from + row * matrix.row_bytes(), to + row / kDevicePanelRows * matrix.panels().stride());
}

}  // namespace vibee
