// SPDX-License-Identifier: Apache-2.0
// Which kernel of warpgroups computes a product on a device of compute capability 9.0, and how it is launched.
#pragma once

#include <optional>

#include "vibee/core/device/block.h"
#include "vibee/kernels/gemm/gemm_shape.h"

namespace vibee {

/// What of a device decides (hw/device/hardware_profile.h).
struct WgmmaDevice {
  uint32_t processors = 1;
  uint32_t shared_bytes = kMostSharedBytes;  ///< of a block
  uint32_t flight_bytes = 0;  ///< that a processor has to have under way to keep its share of memory's bandwidth
};

struct WgmmaGemmShape {
  GemmShape shape;
  uint32_t box_rows = 0, box_columns = 0;  ///< of the maps of A and of B
  uint32_t depth_parts = 1, stages = 2;
  bool shared_parts = false;   ///< parts are blocks of their own
  uint64_t part_bytes = 0;     ///< WgmmaGemmArgs::parts
  uint64_t counter_bytes = 0;  ///< WgmmaGemmArgs::arrived
};

/// Nothing where no such kernel is: operands of one type, bf16 or f16, A as it is and B transposed, a depth that is a
/// positive multiple of 8, one item.
std::optional<WgmmaGemmShape> wgmma_gemm_shape(const GemmSizes& sizes, const WgmmaDevice& device);

}  // namespace vibee
