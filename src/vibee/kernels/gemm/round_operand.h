// SPDX-License-Identifier: Apache-2.0
// Operands of products rounded to small floats (OFP8: Micikevicius et al., arXiv:2209.05433; OCP Microscaling 1.0):
// nearest, ties to even, beyond the largest to the largest. Their values have at most 8 bits of mantissa's length and
// lie as bf16, which holds them exactly, so a dense product of them is the product that hardware for such floats
// makes, but for the order of its sum: emulated, in other words.
#pragma once

#include "vibee/base/simd/isa.h"
#include "vibee/kernels/gemm/operand_form.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {

inline constexpr uint32_t kScaledBlock = 32;  ///< elements along the depth that share a power of two

struct SmallFloatKernels {
  /// The largest size of n numbers; infinity or NaN where one is not finite.
  float (*largest)(const void* x, Format element, uint64_t n);
  /// n numbers times `scale`, rounded; what is not finite becomes NaN. Returns the largest size of x before.
  float (*scaled)(const void* x, Format element, uint64_t n, const SmallFloat& to, float scale, uint16_t* out);
  /// A stored row of n in blocks of 32, each behind the power of two of its largest number's exponent less that of the
  /// largest code (OCP MX 1.0, section 6.3). Values with it. A block with a number that is not finite is NaN.
  void (*along)(const void* x, Format element, uint32_t n, const SmallFloat& to, uint16_t* out);
  /// Up to 32 stored rows as one block a column; `ld` is of x and out.
  void (*across)(const void* x, Format element, uint64_t ld, uint32_t rows, uint32_t columns, const SmallFloat& to,
                 uint16_t* out);
};
const SmallFloatKernels& small_float_kernels(Isa isa);
extern const SmallFloatKernels small_float_kernels_scalar, small_float_kernels_avx2, small_float_kernels_avx512;

}  // namespace vibee
