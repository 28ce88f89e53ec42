// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/wgmma_gemm_shape.h"

#include <algorithm>

#include "vibee/kernels/gemm/wgmma_gemm_block.h"

namespace vibee {
namespace {

constexpr uint32_t kLeastPartSteps = 2, kMostParts = 16;

/// A function of the weight and the device, for rows_alike not of the rows: enough parts to give every processor one
/// where there is one row of tiles.
uint32_t depth_parts(const GemmSizes& s, const WgmmaDevice& device) {
  const uint32_t steps = parts_of(s.k, kWgmmaDepth), tiles = parts_of(s.n, 128);
  return std::clamp(device.processors / std::max(tiles, 1u), 1u, std::clamp(steps / kLeastPartSteps, 1u, kMostParts));
}

/// One group waits for its weight: as many stages as have that under way beside the one that is read. Two wait for each
/// other and for matrix units: four, after CUTLASS's tiles.
uint32_t stages(uint32_t groups, uint32_t columns, const WgmmaDevice& device) {
  const uint32_t stage = wgmma_stage_bytes(groups, columns), weight = columns * kWgmmaDepth * 2;
  const uint32_t fit = (device.shared_bytes - kWgmmaAlign - 128) / stage;
  const uint32_t wanted = groups > 1 ? 4 : std::max(2u, parts_of(device.flight_bytes, weight) + 1);
  return std::min({fit, kMostWgmmaStages, wanted});
}

}  // namespace

std::optional<WgmmaGemmShape> wgmma_gemm_shape(const GemmSizes& s, const WgmmaDevice& device) {
  const bool type = s.a == s.b && (s.a == GemmOperand::bf16 || s.a == GemmOperand::f16);
  if (!type || s.transposed_a || !s.transposed_b || s.batch != 1 || s.k == 0 || s.k % 8 != 0) return std::nullopt;
  WgmmaGemmShape out;
  const auto tiles = [&](uint32_t rows, uint32_t columns) {
    return uint64_t(parts_of(s.m, rows)) * parts_of(s.n, columns);
  };
  // The instruction of 256 columns reads B for twice as many products; where rows are to be alike all take that of 128.
  const bool high = s.m > kGroupRows;
  const bool wide = high && !s.rows_alike && s.a == GemmOperand::bf16 && tiles(128, 256) >= device.processors;
  const uint32_t groups = wide || (high && tiles(128, 128) >= device.processors) ? 2 : 1, columns = wide ? 256 : 128;
  if (tiles(64, 128) > 0x7fffffff) return std::nullopt;
  out.box_rows = groups * kGroupRows, out.box_columns = columns;
  const auto all = uint32_t(tiles(out.box_rows, columns));
  if (!wide && (s.rows_alike || all < device.processors)) out.depth_parts = depth_parts(s, device);
  out.shared_parts = groups == 1 && out.depth_parts > 1 && all * 2 <= device.processors;
  if (out.shared_parts) {
    out.part_bytes = uint64_t(out.depth_parts) * s.m * s.n * sizeof(float);
    out.counter_bytes = uint64_t(all) * 4 * sizeof(uint32_t);
  }
  out.stages = stages(groups, columns, device);
  const uint64_t items = uint64_t(all) * (out.shared_parts ? out.depth_parts : 1);
  out.shape.kernel =
      fmt::format("vibee_wgmma_gemm_{}_{}x{}", s.a == GemmOperand::bf16 ? "bf16" : "f16", out.box_rows, columns);
  out.shape.launch = {{uint32_t(std::min<uint64_t>(items, device.processors)), 1, 1},
                      wgmma_threads(groups),
                      out.stages * wgmma_stage_bytes(groups, columns) + kWgmmaAlign};
  return out;
}

}  // namespace vibee
