// SPDX-License-Identifier: Apache-2.0
// Maps of matrices for copies of tiles (core/device/block.h: TensorMap), on sm_90 and newer.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/core/device/cuda_device.h"

namespace vibee {

/// Of 16 bits; CUtensorMapDataType.
enum class TensorElement : int { f16 = 6, bf16 = 9 };

/// A matrix of rows one behind the other, and the boxes of it that are copied: `box_rows` by 64 columns, the vectors of
/// 16 bytes of a row exchanged as products of groups read them.
struct TensorTile {
  CudaAddress base = 0;  ///< a multiple of 16
  TensorElement element = TensorElement::bf16;
  uint64_t rows = 0, columns = 0;
  uint64_t ld = 0;        ///< elements from one row to the next, a multiple of 8
  uint32_t box_rows = 0;  ///< at most 256
};

/// An error says which number the driver does not take.
Result<TensorMap> tensor_map(CudaDevice& device, const TensorTile& tile);

}  // namespace vibee
