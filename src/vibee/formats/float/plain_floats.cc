// SPDX-License-Identifier: Apache-2.0
// F32, F16 and BF16: one number after another, no blocks.
#include "vibee/base/math/half.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/float/widen.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

const WidenKernels& widen() {
  const Isa isa = detected_isa();
  return isa >= Isa::avx512 ? widen_avx512 : isa == Isa::avx2 ? widen_avx2 : widen_scalar;
}

}  // namespace

void decode_f32(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t i = 0; i < n; ++i) out[i] = std::bit_cast<float>(load_u32(in + 4 * i));
}
void encode_f32(const float* in, uint64_t n, const float*, uint8_t* out) {
  for (uint64_t i = 0; i < n; ++i) store_u32(out + 4 * i, std::bit_cast<uint32_t>(in[i]));
}

void decode_f16(const uint8_t* in, uint64_t n, float* out) {
  const uint64_t whole = n / 16 * 16;
  widen().from_half(in, whole, out);
  for (uint64_t i = whole; i < n; ++i) out[i] = half_to_float(load_u16(in + 2 * i));
}
void encode_f16(const float* in, uint64_t n, const float*, uint8_t* out) {
  const uint64_t whole = n / 16 * 16;
  widen().to_half(in, whole, out);
  for (uint64_t i = whole; i < n; ++i) store_u16(out + 2 * i, float_to_half(in[i]));
}

void decode_bf16(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t i = 0; i < n; ++i) out[i] = bf16_to_float(load_u16(in + 2 * i));
}
void encode_bf16(const float* in, uint64_t n, const float*, uint8_t* out) {
  for (uint64_t i = 0; i < n; ++i) store_u16(out + 2 * i, float_to_bf16(in[i]));
}

}  // namespace vibee
