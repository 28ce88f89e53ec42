// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "vibee/kernels/gemm/fgemm_block.h"
#include "vibee/kernels/gemm/gemm_block.h"
#include "vibee/kernels/gemm/gemv_block.h"
#include "vibee/kernels/gemm/grouped_shape.h"
#include "vibee/kernels/pointwise/route_launch.h"

namespace vibee {
namespace {

constexpr uint32_t kMostStreamed = 64, kMostStrips = 65535, kMostSize = 0x7fffffff;

const char* name(GemmOperand operand) {
  const char* const names[] = {"f32", "bf16", "f16", "s8"};
  return names[size_t(operand)];
}

}  // namespace

Result<GroupedShape> grouped_shape(const GroupedSizes& s) {
  if (s.experts == 0 || std::max({s.pairs, s.n, s.k, s.experts}) > kMostSize)
    return error(Code::unsupported,
                 "grouped gemm: {} pairs, n {}, k {}, {} experts; each is at most {}, and one expert", s.pairs, s.n,
                 s.k, s.experts, kMostSize);
  if (!s.rows_alike && s.pairs <= kMostStreamed && s.b == GemmOperand::bf16 &&
      (s.a == GemmOperand::bf16 || s.a == GemmOperand::f32)) {
    const uint32_t blocks = s.pairs == 0 ? 0 : parts_of(s.n, kGemvBlockColumns);
    return GroupedShape{fmt::format("vibee_grouped_gemv_bf16_{}", name(s.a)),
                        {{blocks, 1, std::max(s.pairs, 1u)}, kGemvWarps * kWarp, 0},
                        0};
  }
  if (s.a != s.b || s.a == GemmOperand::s8)
    return error(
        Code::unsupported,
        "grouped gemm: no kernel multiplies {} rows of {} by experts of {}; operands are both f32, bf16 or f16, "
        "or at most {} rows of f32 by weights of bf16",
        s.pairs, name(s.a), name(s.b), kMostStreamed);
  const bool floats = s.a == GemmOperand::f32;
  const uint32_t side = s.a == GemmOperand::bf16 && s.pairs / s.experts >= 128 ? 128 : 64;
  if (parts_of(s.n, side) > kMostStrips)
    return error(Code::unsupported, "grouped gemm: n {}; a launch has at most {} columns", s.n, side * kMostStrips);
  return GroupedShape{fmt::format("vibee_grouped_gemm_{}_{}", name(s.a), side),
                      {{route_tiles(s.pairs, s.experts, side), parts_of(s.n, side), 1},
                       floats ? kFgemmThreads : side * 2,
                       floats ? 0 : gemm_shared_bytes(side)},
                      side};
}

}  // namespace vibee
