// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/fgemm.h"

#include "vibee/kernels/gemm/gemm.h"

namespace vibee {

void fgemm_nf4s64_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::nf4s64>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_fp4s64_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::fp4s64>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}

}  // namespace vibee
