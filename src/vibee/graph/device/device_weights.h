// SPDX-License-Identifier: Apache-2.0
// How weights lie on a device: matrices of f32, bf16 and f16 as rows, the bytes of the file; of all other formats as
// the panels of sixteen rows that the CPU has (kernels/gemm/panel.h).
#pragma once

#include <functional>
#include <string_view>

#include "vibee/core/device/cuda_driver.h"
#include "vibee/graph/exec/call_parameters.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// Rows of a panel on a device.
inline constexpr uint32_t kDevicePanelRows = 16;
/// Whether a device has a matrix of this format as rows.
constexpr bool lies_in_rows(Format format) {
  return format == Format::f32 || format == Format::bf16 || format == Format::f16;
}
/// Whether products with it take rows of floats as they are.
constexpr bool meets_floats(Format format) { return format == Format::f32 || is_scaled_float(format); }

/// A matrix [experts][n][k].
struct DeviceMatrix {
  CudaAddress data = 0;
  Format format = Format::f32;
  uint32_t n = 0, k = 0, experts = 1;

  PackedWeight panels() const { return {format, n, k, kDevicePanelRows, nullptr, experts}; }
  uint64_t bytes() const { return lies_in_rows(format) ? row_bytes() * n * experts : panels().bytes(); }
  uint64_t row_bytes() const { return info(format).row_bytes(k); }
};
/// What so many rows of one expert's matrix take: a multiple of kDevicePanelRows, or those at the end.
uint64_t device_row_bytes(const DeviceMatrix& matrix, uint32_t rows);
/// Those rows as they lie on a device at `to`, from the file's; they belong behind the ones before.
void pack_device_rows(const DeviceMatrix& matrix, uint32_t rows, const uint8_t* from, uint8_t* to);

/// Loaded weights by name: matrices on the device, vectors on the host, from where a plan takes copies.
struct DeviceWeightTable {
  std::function<const DeviceMatrix*(std::string_view)> matrix;
  VectorTable vector;
};

}  // namespace vibee
