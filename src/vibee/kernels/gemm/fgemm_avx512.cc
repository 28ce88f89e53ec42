// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/fgemm.h"

#include "vibee/kernels/gemm/gemm.h"

namespace vibee {

void fgemm_f32_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::f32>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_f16_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::f16>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_bf16_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::bf16>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}

}  // namespace vibee
