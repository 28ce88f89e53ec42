// SPDX-License-Identifier: Apache-2.0
// Which kernel of a device computes a product, and how it is launched: a function of sizes and types alone. Alignment
// does not choose: kernels see it in their operands (gemm_launch.h).
#pragma once

#include <string>

#include "vibee/base/status/status.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kernels/gemm/gemm_launch.h"

namespace vibee {

enum class GemmOperand : uint8_t { f32, bf16, f16, s8 };

struct GemmSizes {
  GemmOperand a = GemmOperand::bf16, b = GemmOperand::bf16;
  bool transposed_a = false, transposed_b = false;
  uint32_t m = 0, n = 0, k = 0, batch = 1;
  uint32_t processors = 1;  ///< multiprocessors of the device
  bool rows_alike = false;  ///< a row's bytes are not to depend on how many rows there are: nothing streams the weight
};

struct GemmShape {
  std::string kernel;
  LaunchShape launch;  ///< without blocks where D is empty; nothing is to be launched then
};

/// At most 8 rows by a weight of bf16 that is stored [n, k], rows of bf16 or f32: the kernels that stream the weight.
/// Else both operands are of one type: tiles of 128 x 128 where these are enough to give every processor one, of
/// 64 x 64 where not; f32 has the small ones alone. 8-bit operands have a depth that their sums hold (131071), and B
/// is transposed, A not. Whatever has no kernel is refused with what it is. A launch with more than 48 KB of dynamic
/// shared memory has to be allowed for its function first (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES).
Result<GemmShape> gemm_shape(const GemmSizes& sizes);

}  // namespace vibee
