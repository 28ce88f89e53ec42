// SPDX-License-Identifier: Apache-2.0
// A dense product as data: D = epilogue(alpha * op(A) op(B) + beta * C), one, a batch, or one a group of rows or of
// depth. The shape is stated apart from the operands, so that memory is known before there is any. What a value is,
// whatever computes it in the canonical order fma_k (gemm.h):
//
//   s = fma chain over ascending k from 0        v = alpha * s, where beta is not 0: fma(beta, C, alpha * s)
//   where it goes on from D, the chain begins with D's element instead of 0, and v = s
//   v += bias[column];  pre = v;  v = activation(v);  v += residual;  D = v;  column_sum[column] += v by ascending row
//
// Not here: anything about how a product is computed (cutlass_gemm.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "vibee/base/status/status.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// How an operand lies in memory.
struct GemmLayout {
  Format element = Format::f32;         ///< f32, or for A and B bf16 or f16, which are widened exactly
  bool transposed = false;              ///< the operand is the transpose of what is stored
  uint64_t ld = 0;                      ///< elements from one stored row to the next; 0: rows follow one another
  std::optional<uint64_t> stride = {};  ///< elements from one item to the next (0: all share it); empty: as dense
};

/// Which dimension the groups of a grouped product divide: rows of A and D, each group with a B of its own (experts),
/// or the depth k, each group with a D of its own (the experts' weight gradients).
enum class GemmGroups : uint8_t { none, rows, depth };

struct GemmEpilogue {
  bool bias = false;               ///< a value a column
  std::optional<Gate> activation;  ///< with the bytes of pointwise().activate
  bool residual = false;           ///< added after the activation; laid out as D, may be D itself
  bool save_pre = false;           ///< what the activation was given is kept for its backward pass; laid out as D
  bool column_sum = false;         ///< sums of D's columns over its rows, as the gradient of a bias needs them
  bool any() const { return bias || activation || residual || save_pre || column_sum; }
};

struct GemmProblem {
  uint32_t m = 0, n = 0, k = 0;  ///< op(A) [m, k], op(B) [k, n], D [m, n]; with groups m or k is the sum over them
  GemmLayout a, b, d;            ///< d: of C, D, residual and pre alike; never transposed
  uint32_t batch = 1;
  GemmGroups grouping = GemmGroups::none;
  uint32_t groups = 0;    ///< how many; their sizes come with the operands
  bool packed_b = false;  ///< B comes as panels that were packed before (GemmData::packed)
  float alpha = 1, beta = 0;
  bool goes_on = false;  ///< D holds the sums of the depth before this one: alpha 1, beta 0, no residual
  GemmEpilogue epilogue = {};

  /// Items that have a B, a bias, a D or sums of columns of their own: batch items or groups.
  uint32_t items() const { return grouping == GemmGroups::none ? batch : groups; }
};

/// The problem with every leading dimension and stride filled in, or what is wrong with it.
Result<GemmProblem> checked(GemmProblem problem);

/// Memory of A or B.
struct GemmInput {
  GemmInput() = default;
  GemmInput(const void* d, uint64_t n, Format e) : data(d), elements(n), element(e) {}
  GemmInput(std::span<const float> v) : data(v.data()), elements(v.size()), element(Format::f32) {}      // NOLINT
  GemmInput(std::span<const uint16_t> v) : data(v.data()), elements(v.size()), element(Format::bf16) {}  // NOLINT
  const void* data = nullptr;
  uint64_t elements = 0;
  Format element = Format::f32;
};

struct GemmData {
  GemmInput a, b;
  const PackedWeight* packed = nullptr;  ///< op(B) transposed, [n, k], of f32, f16 or bf16; `experts` = items or 1
  std::span<const float> c;              ///< read where beta is not 0; may be D itself
  std::span<float> d;
  std::span<const float> bias;       ///< n values for all items, or n an item
  std::span<const float> residual;   ///< may be D itself
  std::span<float> pre, column_sum;  ///< column_sum: n values an item
  std::span<const uint32_t> groups;  ///< sizes, sum m or k
};

/// Whether the operands are what the (checked) problem says: lengths, elements, groups, and that D and the other
/// outputs overlap nothing but C and residual, which are D itself or apart from it.
Status check_operands(const GemmProblem& problem, const GemmData& data);

}  // namespace vibee
