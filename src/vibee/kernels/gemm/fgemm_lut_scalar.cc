// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/fgemm_lut.h"

#include "vibee/kernels/gemm/gemm.h"

namespace vibee {

void fgemm_lut3_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<3>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_lut4_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<4>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_lut5_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<5>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_lut6_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<6>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_lut7_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<7>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}
void fgemm_lut8_scalar(const uint8_t* panel, uint32_t k, const float* x, uint64_t stride, uint32_t m, float* out) {
  table_dispatch<8>(m, std::make_integer_sequence<uint32_t, 12>{}, panel, k, x, stride, out);
}

}  // namespace vibee
