// SPDX-License-Identifier: Apache-2.0
// E4M3 in groups with a scale (Micikevicius et al. 2022, arXiv:2209.05433; OCP OFP8).
#include "vibee/formats/float/float_codes.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {

void decode_e4m3s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E4m3, 32>(in, n, out); }
void encode_e4m3s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E4m3, 32>(in, n, out); }
void decode_e4m3s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E4m3, 128>(in, n, out); }
void encode_e4m3s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E4m3, 128>(in, n, out); }

}  // namespace vibee
