// SPDX-License-Identifier: Apache-2.0
// The Microscaling formats of small floats: 32 of them behind a power of two (OCP MX 1.0).
#include "vibee/formats/float/microscaling.h"
#include "vibee/formats/float/float_codes.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

/// Blocks of 32 behind a power of two.
template <class F>
void decode_mx(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= 32, out += 32, in += 1 + kBytes32<F>) {
    const float scale = e8m0(in[0]);
    for (uint32_t j = 0; j < 32; ++j) out[j] = scale * kValues<F>[get_code<F>(in + 1, j)];
  }
}

/// The power of two by the rule of the specification (section 6.3): that of the largest number over that of the largest
/// code, from the bits of its exponent.
template <class F>
void encode_mx(const float* in, uint64_t n, uint8_t* out) {
  constexpr int kMost = int(std::bit_cast<uint32_t>(F::decode(F::kLargest)) >> 23) - 127;
  for (; n > 0; n -= 32, in += 32, out += 1 + kBytes32<F>) {
    const int exponent = int(std::bit_cast<uint32_t>(largest(in, 32)) >> 23);  // biased; 0: subnormal or nothing
    out[0] = uint8_t(std::clamp(exponent - kMost, 0, 254));
    encode_codes<F>(in, e8m0(out[0]), out + 1);
  }
}

}  // namespace

void decode_mxfp8(const uint8_t* in, uint64_t n, float* out) { decode_mx<E4m3>(in, n, out); }
void encode_mxfp8(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E4m3>(in, n, out); }
void decode_mxfp8e5m2(const uint8_t* in, uint64_t n, float* out) { decode_mx<E5m2>(in, n, out); }
void encode_mxfp8e5m2(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E5m2>(in, n, out); }
void decode_mxfp6(const uint8_t* in, uint64_t n, float* out) { decode_mx<E2m3>(in, n, out); }
void encode_mxfp6(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E2m3>(in, n, out); }
void decode_mxfp6e3m2(const uint8_t* in, uint64_t n, float* out) { decode_mx<E3m2>(in, n, out); }
void encode_mxfp6e3m2(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E3m2>(in, n, out); }

}  // namespace vibee
