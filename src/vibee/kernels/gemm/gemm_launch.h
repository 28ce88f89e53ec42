// SPDX-License-Identifier: Apache-2.0
// What the kernels of products take: gemm_block.inc, fgemm_block.inc and gemv_block.inc. Which of them computes a
// problem, and how it is launched, says gemm_shape.h. An element of D is, as in gemm_problem.h,
//
//   s = sum over k of op(A) op(B), of 8-bit operands s = float(sum) * row_scales[row] * column_scales[column]
//   v = alpha * s, where beta is not 0: fma(beta, C, alpha * s)          C is not read where beta is 0
//   v += bias[column];  pre = v;  v = activation(v);  v *= multiply;  v += residual;  D = v
#pragma once

#include <cstdint>

namespace vibee {

/// Types of D, and of what is laid out as D.
enum class GemmOutput : uint32_t { f32, bf16, f16 };
enum class GemmActivation : uint32_t { none, silu, gelu_tanh, gelu };

/// A is stored [m, k] or, transposed, [k, m]; B [k, n] or [n, k]; leading dimensions and strides count elements.
/// Operands and leading dimensions of any alignment work; 16 bytes are moved at once where they allow it.
struct GemmArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  void* d = nullptr;
  // Laid out as D, of its type; C and residual may be D itself. All but C may be null.
  const void* c = nullptr;
  void* pre = nullptr;             ///< keeps what the activation was given
  const void* multiply = nullptr;  ///< the other half of a gated unit
  const void* residual = nullptr;
  const float* bias = nullptr;                                  ///< n values an item
  const float *row_scales = nullptr, *column_scales = nullptr;  ///< of 8-bit operands: m and n values for all items
  uint64_t ld_a = 0, ld_b = 0, ld_d = 0;                        ///< of what is stored
  uint64_t stride_a = 0, stride_b = 0, stride_d = 0, stride_bias = 0;  ///< from one item of the batch to the next
  uint32_t m = 0, n = 0, k = 0;
  float alpha = 1, beta = 0;
  GemmOutput output = GemmOutput::f32;
  GemmActivation activation = GemmActivation::none;
};

}  // namespace vibee
