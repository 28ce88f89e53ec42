// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/tensor_map.h"

namespace vibee {

Result<TensorMap> tensor_map(CudaDevice& device, const TensorTile& t) {
  // CUtensorMapInterleave, Swizzle, L2promotion, FloatOOBfill of cuda.h; what lies outside reads as zero.
  constexpr int kNotInterleaved = 0, kSwizzle128B = 3, kPromote128B = 2, kZeros = 0;
  constexpr uint32_t kBoxColumns = 64;
  TensorMap map = {};
  const uint64_t sizes[2] = {t.columns, t.rows}, strides[1] = {t.ld * 2};
  const uint32_t box[2] = {kBoxColumns, t.box_rows}, steps[2] = {1, 1};
  VIBEE_TRY(device.call(
      device.driver().tensor_map_encode,
      [&] {
        return fmt::format("a map of {} x {} elements at {:#x}, rows {} bytes apart, boxes of {} rows", t.rows,
                           t.columns, t.base, strides[0], t.box_rows);
      },
      &map, int(t.element), 2u, reinterpret_cast<void*>(t.base), sizes, strides, box, steps, kNotInterleaved,
      kSwizzle128B, kPromote128B, kZeros));
  return map;
}

}  // namespace vibee
