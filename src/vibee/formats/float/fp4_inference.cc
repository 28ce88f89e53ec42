// SPDX-License-Identifier: Apache-2.0
// v1739: NVFP4 as GGUF has it: 64 elements are four scales in unsigned E4M3 and four times sixteen codes in E2M1, of
// which byte j holds the one of element j in its low and of element j + 8 in its high nibble. Scales are chosen in
// codebook/codebook_blocks.cc. E4M3 ends at 448 and has few bits below 2^-6, so weights far below 1 want a scale of
// their own behind all of that: NVIDIA's checkpoints have one a matrix, of which 6 * 448 is the largest weight, nvfp4s
// one a row.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

constexpr std::array<float, 16> kValues = [] {
  std::array<float, 16> all{};
  for (uint32_t c = 0; c < 16; ++c) all[c] = E2m1::decode(c) + 0.0f;  // code 8 is zero, without its sign
  return all;
}();
/// The sign is ignored; the code of no number is zero, but with a sign the number that would come behind 448.
float scale_of(uint8_t c) { return c == 0x7f ? 0.0f : c == 0xff ? 480.0f : E4m3::decode(c & 0x7f); }

}  // namespace

void put_codes_nvfp4(const uint8_t* codes, uint8_t* block) {
  for (int k = 0; k < 4; ++k, codes += 16)
    for (int j = 0; j < 8; ++j) block[4 + 8 * k + j] = uint8_t(codes[j] | codes[j + 8] << 4);
}

void decode_nvfp4(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / 64; ++b, in += 36)
    for (int k = 0; k < 4; ++k, out += 16) {
      const float scale = scale_of(in[k]);
      for (int j = 0; j < 8; ++j) {
        out[j] = scale * kValues[in[4 + 8 * k + j] & 15];
        out[j + 8] = scale * kValues[in[4 + 8 * k + j] >> 4];
      }
    }
}

void decode_nvfp4s(const uint8_t* in, uint64_t n, float* out) {
  float scale;
  std::memcpy(&scale, in, 4);
  decode_nvfp4(in + 4, n, out);
  for (uint64_t i = 0; i < n; ++i) out[i] = scale * out[i];
}

void encode_nvfp4s(const float* in, uint64_t n, const float* importance, uint8_t* out) {
  constexpr float kMost = 6 * 448;
  float largest = 0;
  for (uint64_t i = 0; i < n; ++i)
    if (std::isfinite(in[i])) largest = std::max(largest, std::fabs(in[i]));
  const float scale = std::max(largest / kMost, 1e-36f);  // a smaller one has no inverse
  std::memcpy(out, &scale, 4);
  std::vector<float> scaled(n);
  for (uint64_t i = 0; i < n; ++i) scaled[i] = in[i] / scale;
  encode_nvfp4(scaled.data(), n, importance, out + 4);
}

}  // namespace vibee
