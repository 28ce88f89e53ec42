// SPDX-License-Identifier: Apache-2.0
// GGUF blocks whose 4-bit codes name values of a table: IQ4_NL, IQ4_XS, MXFP4, NVFP4. Every product is exact in float
// as long as it is finite.
#include <bit>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/codebook/tables.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

/// `2 * half` values: byte j holds element j in its low and element j + half in its high nibble.
void decode_nibbles(const uint8_t* qs, int half, const int8_t* table, float scale, float* out) {
  for (int j = 0; j < half; ++j) {
    out[j] = scale * float(table[qs[j] & 15]);
    out[j + half] = scale * float(table[qs[j] >> 4]);
  }
}

/// The code whose value is nearest; the lowest of equals, and 0 for what is not a number.
uint8_t nearest_e2m1(float x, float scale) {
  uint8_t best = 0;
  for (uint8_t c = 1; c < 16; ++c) {
    if (std::fabs(scale * float(kE2m1Doubled[c]) - x) < std::fabs(scale * float(kE2m1Doubled[best]) - x)) best = c;
  }
  return best;
}

}  // namespace

void decode_iq4_nl(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 32; ++b, in += 18, out += 32) {
    decode_nibbles(in + 2, 16, kIq4Values, half_to_float(load_u16(in)), out);
  }
}

void decode_iq4_xs(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 256; ++b, in += 136, out += 256) {
    const float d = half_to_float(load_u16(in));
    for (int k = 0; k < 8; ++k) {
      decode_nibbles(in + 8 + 16 * k, 16, kIq4Values, d * float(iq4_xs_scale(in, k)), out + 32 * k);
    }
  }
}

void decode_mxfp4(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 32; ++b, in += 17, out += 32) {
    decode_nibbles(in + 1, 16, kE2m1Doubled, e8m0_half(in[0]), out);
  }
}
void encode_mxfp4(const float* in, uint64_t n, uint8_t* out) {
  for (uint64_t b = 0; b < n / 32; ++b, in += 32, out += 17) {
    float amax = 0;
    for (int i = 0; i < 32; ++i) {
      if (std::fabs(in[i]) > amax) amax = std::fabs(in[i]);
    }
    // The largest exponent of E2M1 is 2: the scale is amax's power of two over 4.
    const uint32_t exponent = std::bit_cast<uint32_t>(amax) >> 23;
    out[0] = uint8_t(exponent > 2 ? exponent - 2 : 0);
    const float scale = e8m0_half(out[0]);
    for (int j = 0; j < 16; ++j) {
      out[1 + j] = uint8_t(nearest_e2m1(in[j], scale) | nearest_e2m1(in[j + 16], scale) << 4);
    }
  }
}

void decode_nvfp4(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 64; ++b, in += 36, out += 64) {
    for (int k = 0; k < 4; ++k) decode_nibbles(in + 4 + 8 * k, 8, kE2m1Doubled, ue4m3_half(in[k]), out + 16 * k);
  }
}

}  // namespace vibee
