// SPDX-License-Identifier: Apache-2.0
// GGUF blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Byte j of the 16 nibble bytes holds element j in its low and element
// j+16 in its high nibble. Encoders round exactly as the `gguf` package does, so files come out byte-identical; where
// columns differ in importance, scales are searched.
#include "vibee/base/math/half.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/integer/round_blocks.h"
#include "vibee/formats/integer/scale_search.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

constexpr int kBlock = kRoundBlock;

const RoundKernels& rounding() {
  const Isa isa = detected_isa();
  return isa >= Isa::avx512 ? round_avx512 : isa == Isa::avx2 ? round_avx2 : round_scalar;
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

/// Blocks whose codes lie around zero: pack(d, codes, out) writes one.
template <class Pack>
void encode_symmetric(const float* in, uint64_t n, const float* importance, int middle, int bytes, uint8_t* out,
                      Pack pack) {
  if (importance == nullptr) {
    const RoundKernels& kernels = rounding();
    uint8_t codes[kBlock];
    for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += bytes) {
      const float d = kernels.symmetric(in, float(middle), codes);
      pack(d, codes, out);
    }
    return;
  }
  const SymmetricSearch how{kBlock, 1, float(middle), 0, 0, 15, 0.1f};
  encode_searched(
      how, search_kernels().symmetric, in, n, importance, uint64_t(bytes), out,
      [&](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) { pack(found.d[lane], codes, to); });
}

/// Blocks whose codes count from a low: pack(d, low, codes, out) writes one.
template <class Pack>
void encode_affine(const float* in, uint64_t n, const float* importance, int top, int bytes, uint8_t* out, Pack pack) {
  if (importance == nullptr) {
    const RoundKernels& kernels = rounding();
    uint8_t codes[kBlock];
    for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += bytes) {
      float low;
      const float d = kernels.affine(in, float(top), &low, codes);
      pack(d, low, codes, out);
    }
    return;
  }
  const AffineSearch how{kBlock, 1, float(top), 0, 0};
  encode_searched(how, search_kernels().affine, in, n, importance, uint64_t(bytes), out,
                  [&](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    pack(found.d[lane], found.dmin[lane], codes, to);
                  });
}

}  // namespace

void put_codes_q4_0(const uint8_t* codes, uint8_t* block) { pack_nibbles(codes, block + 2); }
void put_codes_q4_1(const uint8_t* codes, uint8_t* block) { pack_nibbles(codes, block + 4); }
void put_codes_q5_0(const uint8_t* codes, uint8_t* block) {
  pack_fifth_bits(codes, block + 2);
  pack_nibbles(codes, block + 6);
}
void put_codes_q5_1(const uint8_t* codes, uint8_t* block) {
  pack_fifth_bits(codes, block + 4);
  pack_nibbles(codes, block + 8);
}
/// Code 128 is zero.
void put_codes_q8_0(const uint8_t* codes, uint8_t* block) {
  for (int i = 0; i < kBlock; ++i) block[2 + i] = uint8_t(codes[i] ^ 0x80);
}

void decode_q4_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 18, out += kBlock) {
    const float d = half_to_float(load_u16(in));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(int(nibble(in + 2, i)) - 8);
  }
}
void encode_q4_0(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  encode_symmetric(in, n, importance, 8, 18, out, [](float d, const uint8_t* codes, uint8_t* to) {
    store_u16(to, float_to_half(d));
    put_codes_q4_0(codes, to);
  });
}

void decode_q4_1(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 20, out += kBlock) {
    const float d = half_to_float(load_u16(in)), m = half_to_float(load_u16(in + 2));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(nibble(in + 4, i)) + m;
  }
}
void encode_q4_1(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  encode_affine(in, n, importance, 15, 20, out, [](float d, float low, const uint8_t* codes, uint8_t* to) {
    store_u16(to, float_to_half(d));
    store_u16(to + 2, float_to_half(low));
    put_codes_q4_1(codes, to);
  });
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
void encode_q5_0(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  encode_symmetric(in, n, importance, 16, 22, out, [](float d, const uint8_t* codes, uint8_t* to) {
    store_u16(to, float_to_half(d));
    put_codes_q5_0(codes, to);
  });
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
void encode_q5_1(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  encode_affine(in, n, importance, 31, 24, out, [](float d, float low, const uint8_t* codes, uint8_t* to) {
    store_u16(to, float_to_half(d));
    store_u16(to + 2, float_to_half(low));
    put_codes_q5_1(codes, to);
  });
}

void decode_q8_0(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kBlock; ++b, in += 34, out += kBlock) {
    const float d = half_to_float(load_u16(in));
    for (int i = 0; i < kBlock; ++i) out[i] = d * float(int8_t(in[2 + i]));
  }
}
void encode_q8_0(const float* in, uint64_t n, const float*, uint8_t* out) {
  const RoundKernels& kernels = rounding();
  for (uint64_t b = 0; b < n / kBlock; ++b, in += kBlock, out += 34)
    store_u16(out, float_to_half(kernels.whole(in, reinterpret_cast<int8_t*>(out + 2))));
}

}  // namespace vibee
