// SPDX-License-Identifier: Apache-2.0
// Codes of a block of 32 by plain rounding, as the `gguf` package rounds.
#pragma once

#include <cstdint>

namespace vibee {

constexpr int kRoundBlock = 32;

struct RoundKernels {
  /// Nearest whole numbers of x / d, halves away from zero, where d maps the largest magnitude to 127. Returns d.
  float (*whole)(const float* x, int8_t* codes);
  /// x / d + middle, where d maps the element of largest magnitude, the first of equals, to code 0. Returns d.
  float (*symmetric)(const float* x, float middle, uint8_t* codes);
  /// (x - low) / d in 0..top. Returns d.
  float (*affine)(const float* x, float top, float* low, uint8_t* codes);
};
extern const RoundKernels round_scalar, round_avx2, round_avx512;

}  // namespace vibee
