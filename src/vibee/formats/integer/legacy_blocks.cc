// SPDX-License-Identifier: Apache-2.0
// GGUF blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Byte j of the 16 nibble bytes holds element j in its low and element
// j+16 in its high nibble. Encoders round exactly as the `gguf` package does, so files come out byte-identical.
#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

constexpr int kBlock = 32;

struct Range {
  float low, high;
};

/// The element of largest magnitude, with its sign; the first of equals.
float signed_absmax(const float* x) {
  float best = x[0];
  for (int i = 1; i < kBlock; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
}

Range range(const float* x) {
  Range r{x[0], x[0]};
  for (int i = 1; i < kBlock; ++i) {
    r.low = std::min(r.low, x[i]);
    r.high = std::max(r.high, x[i]);
  }
  return r;
}

float inverse(float d) { return d == 0 ? 0.0f : 1.0f / d; }

/// Truncation to a code in 0..top; whatever is not a number becomes 0.
uint8_t code(float value, int top) {
  if (!(value > 0)) return 0;
  return uint8_t(std::min(value, float(top)));
}

uint8_t nibble(const uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

void pack_nibbles(const uint8_t* codes, uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = uint8_t((codes[j] & 15) | (codes[j + 16] << 4));
}
void pack_fifth_bits(const uint8_t* codes, uint8_t* qh) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= uint32_t(codes[i] >> 4) << i;
  store_u32(qh, bits);
}

/// Codes around zero: x / d + middle, where d maps the largest magnitude to code 0.
float symmetric_codes(const float* x, int middle, uint8_t* codes) {
  const float d = signed_absmax(x) / float(-middle);
  const float id = inverse(d);
  for (int i = 0; i < kBlock; ++i) codes[i] = code(x[i] * id + (float(middle) + 0.5f), 2 * middle - 1);
  return d;
}

/// Codes from the minimum: (x - low) / d.
Range affine_codes(const float* x, int top, uint8_t* codes) {
  const Range r = range(x);
  const float d = (r.high - r.low) / float(top);
  const float id = inverse(d);
  for (int i = 0; i < kBlock; ++i) codes[i] = code((x[i] - r.low) * id + 0.5f, top);
  return {r.low, d};
}

}  // namespace

void decode_q4_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 18, out += kBlock) {
    const float d = half_to_float(load_u16(in));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(int(nibble(in + 2, i)) - 8);
  }
}
void encode_q4_0(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kBlock];
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 18) {
    store_u16(out, float_to_half(symmetric_codes(in, 8, codes)));
    pack_nibbles(codes, out + 2);
  }
}

void decode_q4_1(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 20, out += kBlock) {
    const float d = half_to_float(load_u16(in)), m = half_to_float(load_u16(in + 2));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(nibble(in + 4, i)) + m;
  }
}
void encode_q4_1(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kBlock];
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 20) {
    const auto [low, d] = affine_codes(in, 15, codes);
    store_u16(out, float_to_half(d));
    store_u16(out + 2, float_to_half(low));
    pack_nibbles(codes, out + 4);
  }
}

void decode_q5_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 22, out += kBlock) {
    const float d = half_to_float(load_u16(in));
    const uint32_t high = load_u32(in + 2);
    for (int i = 0; i < kBlock; ++i) {
      out[i] = d * float(int(nibble(in + 6, i) | (((high >> i) & 1) << 4)) - 16);
    }
  }
}
void encode_q5_0(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kBlock];
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 22) {
    store_u16(out, float_to_half(symmetric_codes(in, 16, codes)));
    pack_fifth_bits(codes, out + 2);
    pack_nibbles(codes, out + 6);
  }
}

void decode_q5_1(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 24, out += kBlock) {
    const float d = half_to_float(load_u16(in)), m = half_to_float(load_u16(in + 2));
    const uint32_t high = load_u32(in + 4);
    for (int i = 0; i < kBlock; ++i) {
      out[i] = d * float(nibble(in + 8, i) | (((high >> i) & 1) << 4)) + m;
    }
  }
}
void encode_q5_1(const float* in, uint64_t n, uint8_t* out) {
  uint8_t codes[kBlock];
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 24) {
    const auto [low, d] = affine_codes(in, 31, codes);
    store_u16(out, float_to_half(d));
    store_u16(out + 2, float_to_half(low));
    pack_fifth_bits(codes, out + 4);
    pack_nibbles(codes, out + 8);
  }
}

void decode_q8_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 34, out += kBlock) {
    const float d = half_to_float(load_u16(in));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(int8_t(in[2 + i]));
  }
}
void encode_q8_0(const float* in, uint64_t n, uint8_t* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 34) {
    const float d = std::fabs(signed_absmax(in)) / 127.0f;
    const float id = inverse(d);
    store_u16(out, float_to_half(d));
    for (int i = 0; i < kBlock; ++i) {
      const float q = std::round(in[i] * id);  // half away from zero
      out[2 + i] = uint8_t(int8_t(q >= -127 && q <= 127 ? q : 0));
    }
  }
}

}  // namespace vibee
