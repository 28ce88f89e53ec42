// SPDX-License-Identifier: Apache-2.0
// Rows of floats in 1, 2, 4 or 8 bits a number, rounded at random (ActNN: Chen et al., ICML 2021; GACT: Liu et al.,
// ICML 2022). A row is groups of 256 numbers, the last of what is left; a group lies as its least and greatest number
// in bf16, mn rounded down and mx up, and a code a number:
//
//   u = floor((x - mn) * (2^b - 1) / (mx - mn) + r), r uniform in (0, 1), and back x' = mn + u * (mx - mn) / (2^b - 1)
//
// so that the expected x' is x, and |x' - x| is below a step of (mx - mn) / (2^b - 1). The numbers r of a key and an
// element are the same on every instruction set, and so are all bytes. A group with a number that is not finite, or
// whose mx - mn is not, becomes NaN as a whole.
//
// Codes of a group of n lie in m = ceil(n * b / 8) bytes: byte i has those of numbers i, i + m, i + 2m ... from its low
// bits on.
#pragma once

#include "vibee/base/random/rounding.h"
#include "vibee/base/simd/isa.h"
#include "vibee/kernels/pointwise/compress_layout.h"

namespace vibee {

constexpr bool is_compressed_width(int64_t bits) { return bits == 1 || bits == 2 || bits == 4 || bits == 8; }
/// The key of row `row` of n numbers of an array; of `step` are seed and step.
inline RoundingKey compress_key(const RoundingKey& step, uint32_t array, uint64_t row, uint64_t n) {
  const uint64_t groups = (n + kCompressGroup - 1) / kCompressGroup;
  return {step.seed, Purpose::compressing, step.step, array, row * groups * kCompressGroup};
}

struct CompressKernels {
  /// A row of n numbers; `key.element` is that of its first, a multiple of 256.
  void (*compress)(const float* x, uint32_t n, uint32_t bits, const RoundingKey& key, uint8_t* out);
  void (*decompress)(const uint8_t* row, uint32_t n, uint32_t bits, float* x);
};

const CompressKernels& compress_kernels(Isa isa);

/// What compress and decompress make of a row, in the plainest loop that says it: `x` becomes x'. The kernels' codes
/// differ from it where a float's rounding decides.
void compress_reference(float* x, uint32_t n, uint32_t bits, const RoundingKey& key);

extern const CompressKernels compress_kernels_scalar, compress_kernels_avx2, compress_kernels_avx512;

}  // namespace vibee
