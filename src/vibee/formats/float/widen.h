// SPDX-License-Identifier: Apache-2.0
// Halves and floats, sixteen at a time, by the instructions of this machine.
#pragma once

#include <cstdint>

namespace vibee {

/// `n` numbers, a multiple of 16; bytes need no alignment.
struct WidenKernels {
  void (*from_half)(const uint8_t* in, uint64_t n, float* out);
  void (*to_half)(const float* in, uint64_t n, uint8_t* out);
};
extern const WidenKernels widen_scalar, widen_avx2, widen_avx512;

}  // namespace vibee
