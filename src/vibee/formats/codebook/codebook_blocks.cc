// SPDX-License-Identifier: Apache-2.0
// GGUF blocks whose 4-bit codes name values of a table: IQ4_NL, IQ4_XS, MXFP4, NVFP4. Every product is exact in float
// as long as it is finite.
#include <array>
#include <bit>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/codebook/tables.h"
#include "vibee/formats/integer/scale_search.h"
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

/// The code whose value is nearest; the lowest of equals, and 0 for what is not a number. Scales are powers of two.
uint8_t nearest_e2m1(float x, float scale) {
  const float a = std::fabs(x);
  int magnitude = 0;
  for (int c = 0; c < 7; ++c) magnitude += a > 0.5f * scale * float(kE2m1Doubled[c] + kE2m1Doubled[c + 1]);
  return uint8_t(x < 0 && magnitude > 0 ? magnitude | 8 : magnitude);
}

constexpr std::array<float, 16> kIq4Floats = [] {
  std::array<float, 16> all{};
  for (int i = 0; i < 16; ++i) all[size_t(i)] = float(kIq4Values[i]);
  return all;
}();
/// Scales of E8M0 and unsigned E4M3, by their codes; those that are no numbers left out.
constexpr std::array<float, 255> kE8m0 = [] {
  std::array<float, 255> all{};
  for (int i = 0; i < 255; ++i) all[size_t(i)] = 2 * e8m0_half(uint8_t(i));
  return all;
}();
constexpr std::array<float, 127> kE4m3 = [] {
  std::array<float, 127> all{};
  for (int i = 0; i < 127; ++i) all[size_t(i)] = 2 * ue4m3_half(uint8_t(i));
  return all;
}();

/// The inverse of decode_nibbles' places.
void pack_nibbles(const uint8_t* codes, int half, uint8_t* qs) {
  for (int j = 0; j < half; ++j) qs[j] = uint8_t(codes[j] | codes[j + half] << 4);
}

}  // namespace

void put_codes_iq4_nl(const uint8_t* codes, uint8_t* block) { pack_nibbles(codes, 16, block + 2); }
void put_codes_iq4_xs(const uint8_t* codes, uint8_t* block) {
  for (int k = 0; k < 8; ++k) pack_nibbles(codes + 32 * k, 16, block + 8 + 16 * k);
}
void put_codes_mxfp4(const uint8_t* codes, uint8_t* block) { pack_nibbles(codes, 16, block + 1); }

void decode_iq4_nl(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 32; ++b, in += 18, out += 32) {
    decode_nibbles(in + 2, 16, kIq4Values, half_to_float(load_u16(in)), out);
  }
}

void encode_iq4_nl(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  const TableSearch how{32, 1, kIq4Floats.data(), 0, 0, 7, 1};
  encode_searched(how, search_kernels().table, in, n, importance, 18, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    store_u16(to, float_to_half(found.d[lane]));
                    put_codes_iq4_nl(codes, to);
                  });
}

void decode_iq4_xs(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 256; ++b, in += 136, out += 256) {
    const float d = half_to_float(load_u16(in));
    for (int k = 0; k < 8; ++k) {
      decode_nibbles(in + 8 + 16 * k, 16, kIq4Values, d * float(iq4_xs_scale(in, k)), out + 32 * k);
    }
  }
}

void encode_iq4_xs(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  const TableSearch how{32, 8, kIq4Floats.data(), -32, 31, 7, 1};
  encode_searched(how, search_kernels().table, in, n, importance, 136, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    store_u16(to, float_to_half(found.d[lane]));
                    for (int i = 2; i < 8; ++i) to[i] = 0;
                    for (int k = 0; k < 8; ++k) {
                      const int scale = found.scales[lane + k] + 32, high = (scale >> 4) << (2 * (k % 4));
                      to[2 + k / 4] = uint8_t(to[2 + k / 4] | high);
                      to[4 + k / 2] = uint8_t(to[4 + k / 2] | (scale & 15) << (4 * (k & 1)));
                    }
                    put_codes_iq4_xs(codes, to);
                  });
}

void decode_mxfp4(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 32; ++b, in += 17, out += 32) {
    decode_nibbles(in + 1, 16, kE2m1Doubled, e8m0_half(in[0]), out);
  }
}
void encode_mxfp4(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  if (importance != nullptr) {
    const ListedSearch how{32, 1, kE8m0.data(), int(kE8m0.size()), 2, 1};
    encode_searched(how, search_kernels().listed, in, n, importance, 17, out,
                    [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                      to[0] = uint8_t(found.scales[lane]);
                      put_codes_mxfp4(codes, to);
                    });
    return;
  }
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

void encode_nvfp4(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  const ListedSearch how{16, 4, kE4m3.data(), int(kE4m3.size()), 8, 8};
  encode_searched(how, search_kernels().listed, in, n, importance, 36, out,
                  [](int lane, const uint8_t* codes, const Searched& found, uint8_t* to) {
                    for (int k = 0; k < 4; ++k) to[k] = uint8_t(found.scales[lane + k]);
                    put_codes_nvfp4(codes, to);
                  });
}

}  // namespace vibee
