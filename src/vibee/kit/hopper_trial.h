// SPDX-License-Identifier: Apache-2.0
// One product by warpgroups under the shim, for checks: what a device of capability 9.0 with so many processors would
// be launched with, and D.
#pragma once

#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kernels/gemm/wgmma_gemm_block.h"
#include "vibee/kernels/gemm/wgmma_gemm_shape.h"
#include "vibee/kit/block_shim.h"
#include "vibee/kit/tensor_tiles.h"

namespace vibee {

/// rows x columns numbers of bf16, at a multiple of 16 bytes.
struct TrialMatrix {
  TrialMatrix(uint32_t r, uint32_t c, RandomStream& random) : rows(r), columns(c), lines(uint64_t(r) * c / 8 + 1) {
    for (uint64_t i = 0; i < uint64_t(r) * c; ++i) data()[i] = {float_to_bf16(random.normal())};
  }
  Bf16* data() { return lines[0].at + 0; }
  const Bf16* data() const { return lines[0].at + 0; }
  float at(uint32_t r, uint32_t c) const { return bf16_to_float(data()[uint64_t(r) * columns + c].bits); }
  ShimMemory memory() const { return {lines.data(), lines.size() * 16}; }
  uint32_t rows, columns;
  std::vector<Vector16<Bf16>> lines;
};

struct HopperProduct {
  WgmmaGemmShape shape;
  std::vector<float> d;  ///< [m][n]
};

/// Rows [first, first + m) of x times w^T, rows alike. `seed` orders blocks and threads.
inline Result<HopperProduct> run_hopper_product(const TrialMatrix& x, uint32_t first, uint32_t m, const TrialMatrix& w,
                                                const WgmmaDevice& device, uint64_t seed) {
  const uint32_t n = w.rows, k = w.columns;
  GemmSizes sizes{.transposed_b = true, .m = m, .n = n, .k = k};
  sizes.rows_alike = true;
  const auto shape = wgmma_gemm_shape(sizes, device);
  if (!shape) return error(Code::unsupported, "{} x {} x {} has no kernel of warpgroups", m, n, k);
  HopperProduct out{*shape, std::vector<float>(uint64_t(m) * n)};
  std::vector<float> parts(shape->part_bytes / 4 + 1);
  std::vector<uint32_t> arrived(shape->counter_bytes / 4 + 1);
  const auto map = [&](const void* p, uint64_t rows, uint64_t box) {
    const TensorTiles tiles{
        .base = reinterpret_cast<uintptr_t>(p), .columns = k, .rows = rows, .row_bytes = k * 2, .box_rows = box};
    TensorMap made = {};
    std::memcpy(static_cast<void*>(&made), &tiles, sizeof tiles);
    return made;
  };
  WgmmaGemmArgs args;
  args.a = map(x.data() + uint64_t(first) * k, m, shape->box_rows);
  args.b = map(w.data(), n, shape->box_columns);
  args.gemm.d = out.d.data(), args.gemm.ld_d = n, args.gemm.m = m, args.gemm.n = n, args.gemm.k = k;
  args.depth_parts = shape->depth_parts, args.stages = shape->stages;
  if (shape->shared_parts) args.parts = parts.data(), args.arrived = arrived.data();
  const ShimMemory memory[] = {x.memory(),
                               w.memory(),
                               {out.d.data(), out.d.size() * 4},
                               {parts.data(), parts.size() * 4},
                               {arrived.data(), arrived.size() * 4}};
  ShimLaunch launch;
  launch.grid = shape->shape.launch.grid, launch.block = {shape->shape.launch.threads, 1, 1};
  launch.dynamic_shared = shape->shape.launch.dynamic_shared, launch.memory = memory, launch.seed = seed;
  VIBEE_TRY(run_shim({shape->shape.kernel.c_str(), 384, 128}, launch, [&](ShimBlock& b) {
    if (shape->box_rows == kGroupRows)
      wgmma_gemm_block<ShimBlock, Bf16, 1, 128>(b, args);
    else
      wgmma_gemm_block<ShimBlock, Bf16, 2, 128>(b, args);
  }));
  for (const uint32_t left : arrived)
    if (left != 0) return error(Code::invalid, "a counter is {} behind the launch", left);
  return out;
}

}  // namespace vibee
