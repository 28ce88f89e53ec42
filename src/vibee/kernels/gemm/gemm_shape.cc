// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm_shape.h"

#include <algorithm>

#include "vibee/kernels/gemm/fgemm_block.h"
#include "vibee/kernels/gemm/gemm_block.h"
#include "vibee/kernels/gemm/gemv_block.h"

namespace vibee {
namespace {

constexpr uint32_t kMostBatch = 65535, kMostSize = 0x7fffffff, kMostRows = 8;
constexpr uint32_t kMostDepthS8 = kMostSize / (128 * 128);

const char* name(GemmOperand operand) {
  const char* const names[] = {"f32", "bf16", "f16", "s8"};
  return names[size_t(operand)];
}
uint64_t tiles(const GemmSizes& s, uint32_t side) { return uint64_t(parts_of(s.m, side)) * parts_of(s.n, side); }
bool streams_weight(const GemmSizes& s) {
  return !s.rows_alike && s.m <= kMostRows && s.b == GemmOperand::bf16 && s.transposed_b && !s.transposed_a &&
         (s.a == GemmOperand::bf16 || s.a == GemmOperand::f32);
}
GemmShape gemv_shape(const GemmSizes& s) {
  const uint32_t rows = s.m <= 1 ? 1 : s.m <= 4 ? 4 : 8;
  const uint32_t blocks = s.m == 0 ? 0 : parts_of(s.n, kGemvBlockColumns);
  return {fmt::format("vibee_gemv_bf16_{}_{}", name(s.a), rows), {{blocks, 1, s.batch}, kGemvWarps * kWarp, 0}};
}

}  // namespace

Result<GemmShape> gemm_shape(const GemmSizes& s) {
  if (s.batch == 0 || s.batch > kMostBatch)
    return error(Code::unsupported, "gemm: a batch of {}; a launch has 1 to {} items", s.batch, kMostBatch);
  if (std::max({s.m, s.n, s.k}) > kMostSize)
    return error(Code::unsupported, "gemm: m {}, n {}, k {}; each is at most {}", s.m, s.n, s.k, kMostSize);
  if (streams_weight(s)) return gemv_shape(s);
  if (s.a != s.b)
    return error(
        Code::unsupported,
        "gemm: no kernel multiplies {} [{}, {}] by {} [{}, {}]; operands are of one type, or at most {} rows of "
        "f32 by a transposed weight of bf16",
        name(s.a), s.m, s.k, name(s.b), s.k, s.n, kMostRows);
  if (s.a == GemmOperand::s8 && (s.transposed_a || !s.transposed_b))
    return error(Code::unsupported, "gemm: operands of s8 are stored [m, k] and [n, k]; A is {} and B {}",
                 s.transposed_a ? "transposed" : "as is", s.transposed_b ? "transposed" : "as is");
  if (s.a == GemmOperand::s8 && s.k > kMostDepthS8)
    return error(Code::unsupported, "gemm: sums of s8 over a depth of {} may overflow; at most {}", s.k, kMostDepthS8);
  const bool floats = s.a == GemmOperand::f32;
  const uint32_t side = floats || tiles(s, 128) * s.batch < s.processors ? 64 : 128;
  const uint64_t blocks = tiles(s, side);
  if (blocks > kMostSize)
    return error(Code::unsupported, "gemm: D of {} x {} has {} tiles; a launch has at most {}", s.m, s.n, blocks,
                 kMostSize);
  GemmShape shape;
  shape.kernel =
      fmt::format("vibee_gemm_{}_{}_{}{}", name(s.a), side, s.transposed_a ? 't' : 'n', s.transposed_b ? 't' : 'n');
  shape.launch = {
      {uint32_t(blocks), 1, s.batch}, floats ? kFgemmThreads : side * 2, floats ? 0 : gemm_shared_bytes(side)};
  return shape;
}

}  // namespace vibee
