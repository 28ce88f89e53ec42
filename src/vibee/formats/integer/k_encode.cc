// SPDX-License-Identifier: Apache-2.0
// Encoders of the superblock formats Q2_K to Q6_K: scale_search chooses codes and scales for least squared error, here
// they are packed.
#include <algorithm>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/k_blocks.h"
#include "vibee/formats/integer/scale_search.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

void pack_affine_header(const Searched& found, int lane, uint8_t* out) {
  uint8_t scales[8];
  for (int k = 0; k < 8; ++k) scales[k] = uint8_t(found.scales[lane + k]);
  store_u16(out, float_to_half(found.d[lane]));
  store_u16(out + 2, float_to_half(found.dmin[lane]));
  pack_k_scales(scales, found.lows + lane, out + 4);
}

/// The low two bits of 256 codes.
void pack_pairs_of_bits(const uint8_t* codes, uint8_t* qs) {
  for (int half = 0; half < 2; ++half) {
    for (int l = 0; l < 32; ++l) {
      const uint8_t* c = codes + 128 * half + l;
      qs[32 * half + l] = uint8_t((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
    }
  }
}

/// Bit `bit` of the codes l, 32 + l, 64 + l, ... in byte l.
void pack_bit(const uint8_t* codes, int bit, uint8_t* out) {
  for (int l = 0; l < 32; ++l) {
    uint8_t high = 0;
    for (int k = 0; k < 8; ++k) high = uint8_t(high | ((codes[32 * k + l] >> bit) & 1) << k);
    out[l] = high;
  }
}
/// The low four bits of 256 codes.
void pack_pairs_of_nibbles(const uint8_t* codes, uint8_t* qs) {
  for (int j = 0; j < 128; ++j) {
    const uint8_t* c = codes + 64 * (j / 32) + j % 32;
    qs[j] = uint8_t((c[0] & 15) | (c[32] & 15) << 4);
  }
}

}  // namespace

void put_codes_q2_k(const uint8_t* codes, uint8_t* block) { pack_pairs_of_bits(codes, block + 16); }
void put_codes_q3_k(const uint8_t* codes, uint8_t* block) {
  pack_bit(codes, 2, block);
  pack_pairs_of_bits(codes, block + 32);
}
void put_codes_q4_k(const uint8_t* codes, uint8_t* block) { pack_pairs_of_nibbles(codes, block + 16); }
void put_codes_q5_k(const uint8_t* codes, uint8_t* block) {
  pack_bit(codes, 4, block + 16);
  pack_pairs_of_nibbles(codes, block + 48);
}
void put_codes_q6_k(const uint8_t* codes, uint8_t* block) {
  std::fill(block, block + 192, uint8_t(0));
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, c = i / 32 % 4, l = i % 32, u = codes[i];
    uint8_t& low = block[64 * half + l + 32 * (c & 1)];
    uint8_t& high = block[128 + 32 * half + l];
    low = uint8_t(low | (u & 15) << (4 * (c / 2)));
    high = uint8_t(high | (u >> 4) << (2 * c));
  }
}

void encode_q2_k(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr AffineSearch kSearch{16, 16, 3, 15, 15};
  encode_searched(kSearch, search_kernels().affine, in, n, importance, 84, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    for (int k = 0; k < 16; ++k) to[k] = uint8_t(found.scales[lane + k] | found.lows[lane + k] << 4);
                    put_codes_q2_k(codes, to);
                    store_u16(to + 80, float_to_half(found.d[lane]));
                    store_u16(to + 82, float_to_half(found.dmin[lane]));
                  });
}

void encode_q3_k(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr SymmetricSearch kSearch{16, 16, 4, -32, 31, 15, 0.1f};
  encode_searched(kSearch, search_kernels().symmetric, in, n, importance, 110, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    put_codes_q3_k(codes, to);
                    pack_q3_scales(found.scales + lane, to + 96);
                    store_u16(to + 108, float_to_half(found.d[lane]));
                  });
}

void encode_q4_k(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr AffineSearch kSearch{32, 8, 15, 63, 63};
  encode_searched(kSearch, search_kernels().affine, in, n, importance, 144, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    pack_affine_header(found, lane, to);
                    put_codes_q4_k(codes, to);
                  });
}

void encode_q5_k(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr AffineSearch kSearch{32, 8, 31, 63, 63};
  encode_searched(kSearch, search_kernels().affine, in, n, importance, 176, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    pack_affine_header(found, lane, to);
                    put_codes_q5_k(codes, to);
                  });
}

void encode_q6_k(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr SymmetricSearch kSearch{16, 16, 32, -128, 127, 7, 0.2f};
  encode_searched(kSearch, search_kernels().symmetric, in, n, importance, 210, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    put_codes_q6_k(codes, to);
                    for (int k = 0; k < 16; ++k) to[192 + k] = uint8_t(found.scales[lane + k]);
                    store_u16(to + 208, float_to_half(found.d[lane]));
                  });
}

}  // namespace vibee
