// SPDX-License-Identifier: Apache-2.0
// Codes of floats in groups with a scale in f32 or a power of two (packed/formats.inc: e4m3s, e2m3s, e3m2s, nf4s, fp4s,
// mx). Every value is rounded once.
#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "vibee/formats/codebook/tables.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

float read_scale(const uint8_t* p) {
  float v;
  std::memcpy(&v, p, 4);
  return v;
}

/// The values of a minifloat's codes.
template <class F>
constexpr auto kValues = [] {
  std::array<float, F::kCodes> out{};
  for (uint32_t c = 0; c < F::kCodes; ++c) out[c] = F::decode(c);
  return out;
}();

/// Code i of 32 that begin at `p`, of eight or six bits.
template <class F>
uint32_t get_code(const uint8_t* p, uint32_t i) {
  if constexpr (F::kBits == 8) return p[i];
  return (p[i % 16] >> (i < 16 ? 0 : 4) & 15) | (p[16 + i % 8] >> (2 * (i / 8)) & 3) << 4;
}
template <class F>
void put_code(uint8_t* p, uint32_t i, uint32_t code) {  // onto zeros
  if constexpr (F::kBits == 8) {
    p[i] = uint8_t(code);
  } else {
    p[i % 16] = uint8_t(p[i % 16] | (code & 15) << (i < 16 ? 0 : 4));
    p[16 + i % 8] = uint8_t(p[16 + i % 8] | code >> 4 << (2 * (i / 8)));
  }
}
template <class F>
constexpr uint32_t kBytes32 = 4 * F::kBits;  ///< of 32 codes

/// Groups of a minifloat F behind a scale in f32.
template <class F, uint32_t Group>
void decode_groups(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= Group, out += Group) {
    const float scale = read_scale(in);
    in += 4;
    for (uint32_t i = 0; i < Group; i += 32, in += kBytes32<F>)
      for (uint32_t j = 0; j < 32; ++j) out[i + j] = scale * kValues<F>[get_code<F>(in, j)];
  }
}
/// Blocks of 32 behind a power of two.
template <class F>
void decode_mx(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= 32, out += 32, in += 1 + kBytes32<F>) {
    const float scale = e8m0(in[0]);
    for (uint32_t j = 0; j < 32; ++j) out[j] = scale * kValues<F>[get_code<F>(in + 1, j)];
  }
}

void table_groups(const float* table, const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= 64, in += 36, out += 64) {
    const float scale = read_scale(in);
    for (uint32_t i = 0; i < 64; i += 32)
      for (uint32_t j = 0; j < 16; ++j) {
        const uint8_t pair = in[4 + i / 2 + j];
        out[i + j] = scale * table[pair & 15];
        out[i + j + 16] = scale * table[pair >> 4];
      }
  }
}

/// The largest size of finite numbers.
float largest(const float* in, uint32_t n) {
  float most = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (std::isfinite(in[i])) most = std::max(most, std::fabs(in[i]));
  return most;
}
/// A scale that can be divided by.
float usable(float scale) { return scale > FLT_MIN ? scale : FLT_MIN; }

template <class F>
void encode_codes(const float* in, float scale, uint8_t* out) {
  std::memset(out, 0, kBytes32<F>);
  for (uint32_t j = 0; j < 32; ++j) put_code<F>(out, j, std::isnan(in[j]) ? 0 : F::encode(in[j] / scale));
}
template <class F, uint32_t Group>
void encode_groups(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group) {
    const float scale = usable(largest(in, Group) / F::decode(F::kLargest));
    std::memcpy(out, &scale, 4);
    out += 4;
    for (uint32_t i = 0; i < Group; i += 32, in += 32, out += kBytes32<F>) encode_codes<F>(in, scale, out);
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

/// The nearest of a table's values, in the order of their size; of two that are as near the lower one.
struct Nearest {
  uint8_t code[16];
  float middle[15];
  int count;
  constexpr explicit Nearest(const float (&table)[16]) : code(), middle(), count(0) {
    for (uint8_t c = 0; c < 16; ++c) {
      bool known = false;
      for (int i = 0; i < count; ++i) known = known || table[code[i]] == table[c];
      if (known) continue;
      int at = count++;
      for (; at > 0 && table[code[at - 1]] > table[c]; --at) code[at] = code[at - 1];
      code[at] = c;
    }
    for (int i = 0; i + 1 < count; ++i) middle[i] = (table[code[i]] + table[code[i + 1]]) / 2;
  }
  uint8_t operator()(float x) const {
    int at = 0;
    for (int i = 0; i + 1 < count; ++i) at += x > middle[i];
    return code[at];
  }
};
constexpr Nearest kNearestNf4(kNf4Values), kNearestFp4(kBnbFp4Values);

void encode_table_groups(const Nearest& nearest, const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= 64, in += 64, out += 36) {
    const float scale = largest(in, 64), by = usable(scale);
    std::memcpy(out, &scale, 4);
    const auto code = [&](uint32_t i) { return nearest(std::isnan(in[i]) ? 0 : in[i] / by); };
    for (uint32_t i = 0; i < 64; i += 32)
      for (uint32_t j = 0; j < 16; ++j) out[4 + i / 2 + j] = uint8_t(code(i + j) | code(i + j + 16) << 4);
  }
}

}  // namespace

void decode_e4m3s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E4m3, 32>(in, n, out); }
void encode_e4m3s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E4m3, 32>(in, n, out); }
void decode_e4m3s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E4m3, 128>(in, n, out); }
void encode_e4m3s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E4m3, 128>(in, n, out); }
void decode_e2m3s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E2m3, 32>(in, n, out); }
void encode_e2m3s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E2m3, 32>(in, n, out); }
void decode_e2m3s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E2m3, 128>(in, n, out); }
void encode_e2m3s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E2m3, 128>(in, n, out); }
void decode_e3m2s32(const uint8_t* in, uint64_t n, float* out) { decode_groups<E3m2, 32>(in, n, out); }
void encode_e3m2s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E3m2, 32>(in, n, out); }
void decode_e3m2s128(const uint8_t* in, uint64_t n, float* out) { decode_groups<E3m2, 128>(in, n, out); }
void encode_e3m2s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_groups<E3m2, 128>(in, n, out); }
void decode_mxfp8(const uint8_t* in, uint64_t n, float* out) { decode_mx<E4m3>(in, n, out); }
void encode_mxfp8(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E4m3>(in, n, out); }
void decode_mxfp8e5m2(const uint8_t* in, uint64_t n, float* out) { decode_mx<E5m2>(in, n, out); }
void encode_mxfp8e5m2(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E5m2>(in, n, out); }
void decode_mxfp6(const uint8_t* in, uint64_t n, float* out) { decode_mx<E2m3>(in, n, out); }
void encode_mxfp6(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E2m3>(in, n, out); }
void decode_mxfp6e3m2(const uint8_t* in, uint64_t n, float* out) { decode_mx<E3m2>(in, n, out); }
void encode_mxfp6e3m2(const float* in, uint64_t n, const float*, uint8_t* out) { encode_mx<E3m2>(in, n, out); }
void decode_nf4s64(const uint8_t* in, uint64_t n, float* out) { table_groups(kNf4Values, in, n, out); }
void encode_nf4s64(const float* in, uint64_t n, const float*, uint8_t* out) {
  encode_table_groups(kNearestNf4, in, n, out);
}
void decode_fp4s64(const uint8_t* in, uint64_t n, float* out) { table_groups(kBnbFp4Values, in, n, out); }
void encode_fp4s64(const float* in, uint64_t n, const float*, uint8_t* out) {
  encode_table_groups(kNearestFp4, in, n, out);
}

}  // namespace vibee
