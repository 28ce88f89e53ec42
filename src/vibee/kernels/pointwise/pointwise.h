// SPDX-License-Identifier: Apache-2.0
// Row kernels: norm, activation, rotary position, quantisation for the integer matmul, reductions over a vocabulary.
// One source on V16 (pointwise_kernels.h), compiled once an instruction set; the bytes are the same for all. Sums run
// over 16 lanes in ascending tiles, then a fixed tree (tree/serving.md S2).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "vibee/base/simd/isa.h"

namespace vibee {

/// Activations, and gates of a gated unit. gelu: by the error function; gelu_tanh: its tanh form.
enum class Gate : uint8_t { silu, gelu_tanh, gelu };

/// How the rows of a sequence become one: their mean, the largest of each column, the first row, the last.
enum class Pooling : uint8_t { mean, max, cls, last };
std::string_view name(Pooling pooling);
std::optional<Pooling> find_pooling(std::string_view name);

struct PointwiseKernels {
  /// out[i] = x[i] * (1 / sqrt(mean(x^2) + eps)) * weight[i]; in place allowed.
  void (*rms_norm)(const float* x, const float* weight, uint32_t n, float eps, float* out);
  /// out[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i]; in place allowed.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, uint32_t n, float eps, float* out);
  /// out = a + b; in place allowed.
  void (*add)(const float* a, const float* b, uint32_t n, float* out);
  /// out = a * s.
  void (*scale)(const float* a, float s, uint32_t n, float* out);
  /// out = gate(a) * b; in place allowed.
  void (*gated)(Gate gate, const float* a, const float* b, uint32_t n, float* out);
  /// out = gate(a); in place allowed.
  void (*activate)(Gate gate, const float* a, uint32_t n, float* out);
  /// Rotates one head in place by cos/sin tables of `pairs` entries: (x[i], x[i + pairs]) where split, else (x[2i],
  /// x[2i + 1]).
  void (*rope)(float* x, const float* cos, const float* sin, uint32_t pairs, bool split);
  /// One 32-element block: q = RNE(x * 127/amax); writes q, da, das = da*S, ns = -S, ns0 = -(sum of the first 16 q).
  /// A block with a NaN or an infinity gets q = 0 and da = das = NaN, so the row's outputs are NaN.
  void (*quantize_block)(const float* x, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0);
  /// The largest magnitude of n numbers (a multiple of 32); NaN where one is not finite.
  float (*largest)(const float* x, uint32_t n);
  /// quantize_block by a given largest magnitude (NaN: as where the block has one).
  void (*quantize_by)(const float* x, float largest, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0);
  /// The same in four bits, clipped: q = RNE(x * 7 / (0.9 largest)), at most 7 and at least -8; da = 0.9 largest / 7.
  void (*quantize4_by)(const float* x, float largest, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0);
  /// Index of the largest value, the first among equals; NaN never wins. n > 0.
  uint32_t (*argmax)(const float* x, uint32_t n);
  float (*max)(const float* x, uint32_t n);
  /// sum of exp(x - shift) over n values, 16 lane sums and a fixed tree.
  float (*sum_exp)(const float* x, uint32_t n, float shift);
  /// out = cap * tanh(x / cap); in place allowed.
  void (*soft_cap)(const float* x, float cap, uint32_t n, float* out);
  /// Half-precision rows, rounded to nearest even, and back.
  void (*to_half)(const float* x, uint32_t n, uint16_t* out);
  void (*from_half)(const uint16_t* x, uint32_t n, float* out);
  /// The same in bfloat16.
  void (*to_bf16)(const float* x, uint32_t n, uint16_t* out);
  void (*from_bf16)(const uint16_t* x, uint32_t n, float* out);
  /// h[r][j] = by * sum over i of x[r][i] * a[j][i], for `rows` rows of x [rows][k] and a [rank][k]; rows of h are
  /// `width` apart. A row's bytes do not depend on the others.
  void (*lora_down)(const float* x, uint32_t rows, uint32_t k, const float* a, uint32_t rank, float by, float* h,
                    uint32_t width);
  /// y[r][c] += sum over j of h[r][j] * b[j][c], c < columns: rows of h, b and y are `width`, `b_stride` and `stride`
  /// apart. A value's bytes depend on its row and column alone.
  void (*lora_up)(const float* h, uint32_t rows, uint32_t width, uint32_t rank, const float* b, uint64_t b_stride,
                  uint32_t columns, float* y, uint64_t stride);
};

const PointwiseKernels& pointwise(Isa isa);

extern const PointwiseKernels pointwise_scalar, pointwise_avx2, pointwise_avx512;

}  // namespace vibee
