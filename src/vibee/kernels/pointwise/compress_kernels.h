// SPDX-License-Identifier: Apache-2.0
// The kernels of compress.h on V16; included by compress_<isa>.cc only. A group is read twice, the second time from
// the nearest cache; codes are packed by loops over bytes, which compilers make vectors of.
#pragma once

#include <cstring>

#include "vibee/base/simd/random_unit.h"
#include "vibee/base/simd/v16.h"
#include "vibee/kernels/pointwise/compress.h"

namespace vibee {
namespace {

/// The upper half of a finite float, towards minus infinity where `down`, else towards plus infinity.
inline uint16_t bf16_outwards(float x, bool down) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const bool negative = bits >> 31 != 0;
  return uint16_t((bits >> 16) + ((bits & 0xffff) != 0 && negative == down ? 1 : 0));
}
inline float bf16_value(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

struct GroupEnds {
  uint16_t low, high;  ///< bf16; NaN both where the group has none
};

inline GroupEnds ends_of(const float* x, uint32_t n) {
  const V16 first = v_set(x[0]);
  V16 least = first, most = first, zero = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    V16 v = v_load_n(x + i, int(n - i));
    if (n - i < 16) v = v_select(m_from_bits((1u << (n - i)) - 1), v, first);
    least = v_min(least, v);
    most = v_max(most, v);
    zero = v_fma(v, v_zero(), zero);  // stays zero while all are finite
  }
  constexpr GroupEnds kNone = {0x7fc0, 0x7fc0};
  if (!(v_sum(v_abs(zero)) == 0)) return kNone;
  // Zeros of either sign are one number.
  const float low = -v_hmax(v_zero() - least) + 0.0f, high = v_hmax(most) + 0.0f;
  const GroupEnds ends = {bf16_outwards(low, true), bf16_outwards(high, false)};
  const float range = bf16_value(ends.high) - bf16_value(ends.low);
  return range - range == 0 ? ends : kNone;  // an infinite one is none
}

inline void compress_group(const float* x, uint32_t n, uint32_t bits, const RoundingKey& key, uint8_t* out) {
  const GroupEnds ends = ends_of(x, n);
  std::memcpy(out, &ends, 4);
  const float low = bf16_value(ends.low), range = bf16_value(ends.high) - low, levels = float((1u << bits) - 1);
  const uint32_t m = (n * bits + 7) / 8;
  if (!(range > 0)) {  // one number, or none
    std::memset(out + 4, 0, m);
    return;
  }
  uint16_t random[kCompressGroup] = {};
  for (uint32_t at = 0; at < n; at += uint32_t(kRoundingUnit))
    random_unit(key, (key.element + at) / kRoundingUnit, random + at);
  // r - 1/2 of 15 bits: beside a code of 8 bits its sum has the 24 of a float, so what is on a step stays there.
  alignas(64) float noise[kCompressGroup];
  for (uint32_t i = 0; i < kCompressGroup; ++i) noise[i] = (float(int32_t(random[i] >> 1)) - 16383.5f) * 0x1p-15f;
  // The smallest ranges have no inverse.
  const float lift = range < 0x1p-100f ? 0x1p100f : 1.0f;
  const V16 by = v_set(levels / (range * lift)), begin = v_set(low), up = v_set(lift), top = v_set(levels);
  const V16 shift = v_set(bits == 8 ? 128.0f : 0.0f);
  alignas(64) uint8_t codes[kCompressGroup] = {};
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 t = (v_load_n(x + i, int(n - i)) - begin) * up * by;
    const V16 u = v_min(v_max(v_round(t + v_load(noise + i)), v_zero()), top);
    v_store_i8(reinterpret_cast<int8_t*>(codes + i), u - shift);
  }
  for (uint32_t i = n; i < kCompressGroup && i < (n + 15) / 16 * 16; ++i) codes[i] = bits == 8 ? 128 : 0;
  uint8_t* const to = out + 4;
  switch (bits) {
    case 8:
      for (uint32_t i = 0; i < m; ++i) to[i] = codes[i] ^ 0x80;
      return;
    case 4:
      for (uint32_t i = 0; i < m; ++i) to[i] = uint8_t(codes[i] | codes[i + m] << 4);
      return;
    case 2:
      for (uint32_t i = 0; i < m; ++i)
        to[i] = uint8_t(codes[i] | codes[i + m] << 2 | codes[i + 2 * m] << 4 | codes[i + 3 * m] << 6);
      return;
    default:
      std::memset(to, 0, m);
      for (uint32_t p = 0; p < 8; ++p)
        for (uint32_t i = 0; i < m; ++i) to[i] = uint8_t(to[i] | codes[i + p * m] << p);
  }
}

inline void decompress_group(const uint8_t* in, uint32_t n, uint32_t bits, float* x) {
  GroupEnds ends;
  std::memcpy(&ends, in, 4);
  const float low = bf16_value(ends.low), range = bf16_value(ends.high) - low;
  const uint32_t m = (n * bits + 7) / 8, planes = 8 / bits;
  const uint8_t* const from = in + 4;
  alignas(64) uint8_t codes[kCompressGroup] = {};
  if (bits == 8) {
    for (uint32_t i = 0; i < m; ++i) codes[i] = from[i] ^ 0x80;
  } else {
    const uint8_t mask = uint8_t((1u << bits) - 1);
    for (uint32_t p = 0; p < planes; ++p)
      for (uint32_t i = 0; i < m; ++i) codes[p * m + i] = uint8_t(from[i] >> (p * bits)) & mask;
  }
  const V16 begin = v_set(low), step = v_set(range / float((1u << bits) - 1)), shift = v_set(bits == 8 ? 128.0f : 0.0f);
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 u = v_load_i8(reinterpret_cast<const int8_t*>(codes + i)) + shift;
    v_store_n(x + i, v_fma(u, step, begin), int(n - i));
  }
}

void compress(const float* x, uint32_t n, uint32_t bits, const RoundingKey& key, uint8_t* out) {
  RoundingKey of_group = key;
  for (uint32_t at = 0; at < n; at += kCompressGroup) {
    const uint32_t count = n - at < kCompressGroup ? n - at : kCompressGroup;
    compress_group(x + at, count, bits, of_group, out);
    of_group.element += kCompressGroup;
    out += 4 + (count * bits + 7) / 8;
  }
}
void decompress(const uint8_t* row, uint32_t n, uint32_t bits, float* x) {
  for (uint32_t at = 0; at < n; at += kCompressGroup) {
    const uint32_t count = n - at < kCompressGroup ? n - at : kCompressGroup;
    decompress_group(row, count, bits, x + at);
    row += 4 + (count * bits + 7) / 8;
  }
}

constexpr CompressKernels kTable = {compress, decompress};

}  // namespace
}  // namespace vibee
