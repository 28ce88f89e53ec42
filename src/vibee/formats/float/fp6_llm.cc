// SPDX-License-Identifier: Apache-2.0
// Six bits, E2M3 and E3M2, in groups with a scale (Xia et al. 2024, arXiv:2401.14112).
#include "vibee/formats/float/float_codes.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {

void decode_e2m3s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E2m3, 32>(in, n, out); }
void encode_e2m3s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E2m3, 32>(in, n, out); }
void decode_e2m3s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E2m3, 128>(in, n, out); }
void encode_e2m3s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E2m3, 128>(in, n, out); }
void decode_e3m2s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E3m2, 32>(in, n, out); }
void encode_e3m2s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E3m2, 32>(in, n, out); }
void decode_e3m2s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E3m2, 128>(in, n, out); }
void encode_e3m2s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E3m2, 128>(in, n, out); }

}  // namespace vibee
