// SPDX-License-Identifier: Apache-2.0
// GGUF superblocks of 256, decoded: Q4_K, Q5_K (eight sub-blocks of 32 with scale and minimum), Q2_K (sixteen of 16
// with both), Q3_K and Q6_K (sixteen of 16 with a signed scale). Every product here is exact in float, so only the
// final subtraction rounds.
#include "vibee/formats/integer/k_blocks.h"

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/codec.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {

void decode_q2_k(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 84, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in + 80)), dmin = half_to_float(load_u16(in + 82));
    for (int i = 0; i < kSuperBlock; ++i) {
      const uint8_t scales = in[i / 16];
      const int u = (in[16 + i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
      out[i] = d * float(scales & 15) * float(u) - dmin * float(scales >> 4);
    }
  }
}

void decode_q3_k(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 110, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in + 108));
    for (int i = 0; i < kSuperBlock; ++i) {
      const int low = (in[32 + i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
      const int high = (in[i % 32] >> (i / 32)) & 1;
      out[i] = d * float(q3_scale(in + 96, i / 16)) * float((low | high << 2) - 4);
    }
  }
}

void decode_q4_k(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 144, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in)), dmin = half_to_float(load_u16(in + 2));
    for (int k = 0; k < 8; ++k) {
      const float scale = d * float(k_scale(in + 4, k)), low = dmin * float(k_min(in + 4, k));
      const uint8_t* qs = in + 16 + 32 * (k / 2);
      for (int l = 0; l < 32; ++l) out[32 * k + l] = scale * float((qs[l] >> (4 * (k & 1))) & 15) - low;
    }
  }
}

void decode_q5_k(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 176, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in)), dmin = half_to_float(load_u16(in + 2));
    const uint8_t* qh = in + 16;
    for (int k = 0; k < 8; ++k) {
      const float scale = d * float(k_scale(in + 4, k)), low = dmin * float(k_min(in + 4, k));
      const uint8_t* qs = in + 48 + 32 * (k / 2);
      for (int l = 0; l < 32; ++l) {
        const int u = ((qs[l] >> (4 * (k & 1))) & 15) | (((qh[l] >> k) & 1) << 4);
        out[32 * k + l] = scale * float(u) - low;
      }
    }
  }
}

void decode_q6_k(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t b = 0; b < n / kSuperBlock; ++b, in += 210, out += kSuperBlock) {
    const float d = half_to_float(load_u16(in + 208));
    for (int i = 0; i < kSuperBlock; ++i) {
      const int half = i / 128, c = i / 32 % 4, l = i % 32;
      const int low = (in[64 * half + l + 32 * (c & 1)] >> (4 * (c / 2))) & 15;
      const int high = (in[128 + 32 * half + l] >> (2 * c)) & 3;
      const float scale = d * float(int8_t(in[192 + i / 16]));
      out[i] = scale * float((low | (high << 4)) - 32);
    }
  }
}

}  // namespace vibee
