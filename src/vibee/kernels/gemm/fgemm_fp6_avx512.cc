// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/fgemm.h"

#include "vibee/kernels/gemm/gemm.h"

namespace vibee {

void fgemm_e2m3s32_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::e2m3s32>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_e2m3s128_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::e2m3s128>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_e3m2s32_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::e3m2s32>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_e3m2s128_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::e3m2s128>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_mxfp6_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::mxfp6>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_mxfp6e3m2_avx512(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  float_dispatch<Format::mxfp6e3m2>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}

}  // namespace vibee
