// SPDX-License-Identifier: Apache-2.0
// An operand b [n, k] of products, packed before in panels of 16 rows, in memory of the caller, 64-byte aligned.
#pragma once

#include <cstdint>

namespace vibee {

inline constexpr uint32_t kPackedPanel = 16;

struct PackedPanels {
  uint8_t* data = nullptr;
  uint32_t rows = 0, depth = 0;
  uint32_t element = 1;  ///< bytes
  uint64_t stride = 0;   ///< bytes from a panel to the next of what this is a part of; 0: those of a panel
  uint32_t panels() const { return (rows + kPackedPanel - 1) / kPackedPanel; }
  /// A row has room to a multiple of 64 bytes, as one tile of AMX takes.
  uint64_t panel_bytes() const {
    return stride != 0 ? stride : (uint64_t(depth) * element + 63) / 64 * 64 * kPackedPanel;
  }
  uint8_t* panel(uint32_t i) const { return data + i * panel_bytes(); }
  /// One a row, padded; behind the panels.
  float* scales() const { return reinterpret_cast<float*>(data + panels() * panel_bytes()); }
  /// Panels first.. to last, and elements k.. of their depth, a whole number of 64 bytes a row from its beginning.
  PackedPanels part(uint32_t first, uint32_t last, uint32_t k, uint32_t depth_of_part) const {
    const uint32_t end = last * kPackedPanel < rows ? last * kPackedPanel : rows;
    return {panel(first) + uint64_t(k) * element * kPackedPanel, end - first * kPackedPanel, depth_of_part, element,
            panel_bytes()};
  }
  uint64_t bytes() const { return (panels() * (panel_bytes() + 4 * kPackedPanel) + 63) / 64 * 64; }
};

}  // namespace vibee
