// SPDX-License-Identifier: Apache-2.0
// Sums of the rows of each id (scatter_launch.h).
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/pointwise/scatter_launch.h"

namespace vibee {

template <class Block>
VIBEE_BLOCK void scatter_block(Block& b, const ScatterArgs& args) {
  const uint32_t column = b.block_y() * b.threads() + b.thread();
  if (column >= args.n) return;
  const uint32_t begin = b.load(args.begins, b.block_x()), end = b.load(args.begins, b.block_x() + 1);
  float sum = 0;
  for (uint32_t i = begin; i < end; ++i) sum = sum + b.load(args.x, uint64_t(b.load(args.rows, i)) * args.n + column);
  b.store(args.out, uint64_t(b.load(args.ids, b.block_x())) * args.n + column, sum);
}

}  // namespace vibee
