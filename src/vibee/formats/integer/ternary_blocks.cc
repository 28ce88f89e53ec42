// SPDX-License-Identifier: Apache-2.0
// GGUF superblocks of 256 numbers of {-1, 0, 1}: TQ1_0 packs five to a byte in base 3, TQ2_0 four to a byte in 2 bits
// (whose fourth code reads as 2). One scale a superblock: the largest magnitude.
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/k_blocks.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

/// Rounds x / d, halves away from zero, to digits 0..2; what is not a number becomes the middle. Returns d.
float ternary_digits(const float* x, uint8_t* digits) {
  float d = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    if (std::fabs(x[i]) > d) d = std::fabs(x[i]);
  }
  const float id = d == 0 ? 0.0f : 1.0f / d;
  for (int i = 0; i < kSuperBlock; ++i) digits[i] = x[i] * id >= 0.5f ? 2 : x[i] * id <= -0.5f ? 0 : 1;
  return d;
}

/// `count` digits `stride` apart as one byte; a missing fifth digit is 0.
uint8_t pack_base3(const uint8_t* digits, int count, int stride) {
  int number = 0;
  for (int n = 0; n < 5; ++n) number = 3 * number + (n < count ? digits[n * stride] : 0);
  return uint8_t((number * 256 + 242) / 243);
}

}  // namespace

void decode_tq1_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 54, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in + 52));
    for (int i = 0; i < kSuperBlock; ++i) out[i] = d * float(int(ternary_digit(in, i)) - 1);
  }
}
void encode_tq1_0(const float* in, uint64_t n, const float*, uint8_t* out) {
  uint8_t digits[kSuperBlock];
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += kSuperBlock, out += 54) {
    store_u16(out + 52, float_to_half(ternary_digits(in, digits)));
    for (int j = 0; j < 32; ++j) out[j] = pack_base3(digits + j, 5, 32);
    for (int j = 0; j < 16; ++j) out[32 + j] = pack_base3(digits + 160 + j, 5, 16);
    for (int j = 0; j < 4; ++j) out[48 + j] = pack_base3(digits + 240 + j, 4, 4);
  }
}

void decode_tq2_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 66, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in + 64));
    for (int i = 0; i < kSuperBlock; ++i) {
      const int u = (in[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
      out[i] = d * float(u - 1);
    }
  }
}
void encode_tq2_0(const float* in, uint64_t n, const float*, uint8_t* out) {
  uint8_t digits[kSuperBlock];
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += kSuperBlock, out += 66) {
    store_u16(out + 64, float_to_half(ternary_digits(in, digits)));
    for (int half = 0; half < 2; ++half) {
      for (int j = 0; j < 32; ++j) {
        const uint8_t* first = digits + 128 * half + j;
        out[32 * half + j] = uint8_t(first[0] | first[32] << 2 | first[64] << 4 | first[96] << 6);
      }
    }
  }
}

}  // namespace vibee
