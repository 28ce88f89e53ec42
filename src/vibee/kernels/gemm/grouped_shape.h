// SPDX-License-Identifier: Apache-2.0
// Products of rows by the experts that they chose (grouped matmul): which kernel computes a problem, and how it is
// launched. Pairs, routes and work lists are those of route_launch.h.
#pragma once

#include <string>

#include "vibee/base/status/status.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kernels/gemm/gemm_shape.h"
#include "vibee/kernels/gemm/grouped_launch.h"

namespace vibee {

struct GroupedSizes {
  GemmOperand a = GemmOperand::bf16, b = GemmOperand::bf16;
  uint32_t pairs = 0, n = 0, k = 0, experts = 1;
  uint32_t rows = 0;        ///< that chose: no expert has more pairs unless a row has it twice
  bool rows_alike = false;  ///< a pair's bytes are not to depend on how many there are: nothing streams the weights
};
struct GroupedShape {
  std::string kernel;
  LaunchShape launch;      ///< without blocks where D is empty; nothing is to be launched then
  uint32_t tile_rows = 0;  ///< of the work list; 0: the kernel reads the route, and no list is needed
};

/// At most 64 pairs by weights of bf16, rows of bf16 or f32: a pair streams the weights of its expert. Else both
/// operands are of one type: tiles of 64 rows, of bf16 of 128 where experts have that many pairs on average. Whatever
/// has no kernel is refused with what it is.
Result<GroupedShape> grouped_shape(const GroupedSizes& sizes);

}  // namespace vibee
