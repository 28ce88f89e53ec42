// SPDX-License-Identifier: Apache-2.0
// Which kernels of a device compute with weights in panels, and how they are launched: functions of formats and sizes
// alone. Formats of integer codes have kernels; others are refused with their name.
#pragma once

#include "vibee/kernels/gemm/grouped_shape.h"
#include "vibee/kernels/gemm/packed_gemm_launch.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// Panels of 16 rows of k elements.
Result<PanelForm> panel_form(Format format, uint32_t k);

/// At most 8 rows: warps of a block share the depth of 32 columns. More: tiles of 32 x 64, depth in registers. Bytes do
/// not depend on which. A launch with more than 48 KB of dynamic shared memory has to be allowed for its function
/// first.
Result<GemmShape> packed_gemm_shape(Format format, uint32_t rows, uint32_t n, uint32_t k);

/// By experts: tiles of at most 8 pairs where experts have so many on average, else of 32. Bytes are those of
/// packed_gemm_shape's kernels.
Result<GroupedShape> packed_grouped_shape(Format format, const GroupedSizes& sizes);

/// Bytes of quantised rows on a device.
constexpr uint64_t quantized_bytes(uint32_t rows, uint32_t k) {
  return uint64_t(rows) * (k / kActBlock) * kActRecordBytes;
}
/// All but x and records of QuantizeRowsArgs, and the kernel. The rule is not ActRule::floats.
Result<QuantizeRowsArgs> quantize_rows_args(ActRule rule, uint32_t k);
GemmShape quantize_rows_shape(uint32_t rows, uint32_t k);

Result<GemmShape> packed_embed_shape(Format format, uint32_t rows, uint32_t k);

}  // namespace vibee
