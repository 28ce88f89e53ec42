// SPDX-License-Identifier: Apache-2.0
// Integer codes in groups with a scale in f32 (packed/formats.inc: i4z, i3m .. i8m, i8s). Every value is rounded once,
// those with an offset twice.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

float read_float(const uint8_t* p) {
  float v;
  std::memcpy(&v, p, 4);
  return v;
}

/// value(code, scale, what follows the scale) of 4-bit codes in groups of `Group` whose header has `Header` bytes.
template <uint32_t Group, uint32_t Header, class F>
void nibbles(const uint8_t* in, uint64_t n, float* out, F&& value) {
  for (; n > 0; n -= Group, out += Group) {
    const float scale = read_float(in);
    const uint8_t *const rest = in + 4, *codes = in + Header;
    for (uint32_t i = 0; i < Group; i += 32, codes += 16)
      for (uint32_t j = 0; j < 16; ++j) {
        out[i + j] = value(codes[j] & 15, scale, rest);
        out[i + j + 16] = value(codes[j] >> 4, scale, rest);
      }
    in = codes;
  }
}
template <uint32_t Group>
void zero_point(const uint8_t* in, uint64_t n, float* out) {
  nibbles<Group, 5>(in, n, out, [](int code, float scale, const uint8_t* zero) { return scale * float(code - *zero); });
}
template <uint32_t Group>
void offset(const uint8_t* in, uint64_t n, float* out) {
  nibbles<Group, 8>(in, n, out, [](int code, float scale, const uint8_t* at) {
    const float product = scale * float(code);
    return product + read_float(at);
  });
}
template <uint32_t Group>
void signed_bytes(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= Group, out += Group, in += 4 + Group) {
    const float scale = read_float(in);
    for (uint32_t i = 0; i < Group; ++i) out[i] = scale * float(int8_t(in[4 + i]));
  }
}

void write_float(uint8_t* p, float v) { std::memcpy(p, &v, 4); }
/// A scale that can be divided by.
float usable(float scale) { return scale > FLT_MIN ? scale : FLT_MIN; }
/// x / scale to the nearest of low .. high; what is not a number becomes `low`.
int nearest(float x, float scale, int low, int high) {
  const float q = std::nearbyint(x / scale);
  return q > float(low) ? q < float(high) ? int(q) : high : low;
}

/// Two codes a byte, of all of a group.
template <uint32_t Group, class F>
void pack_nibbles(uint8_t* out, F&& code) {
  for (uint32_t i = 0; i < Group; i += 32)
    for (uint32_t j = 0; j < 16; ++j) *out++ = uint8_t(code(i + j) | code(i + j + 16) << 4);
}
struct Extent {
  float low, high;
};
/// Of finite numbers alone.
template <uint32_t Group>
Extent extent(const float* in, float low, float high) {
  for (uint32_t i = 0; i < Group; ++i) {
    if (!std::isfinite(in[i])) continue;
    low = std::min(low, in[i]);
    high = std::max(high, in[i]);
  }
  return {low, high};
}

/// From the least to the largest, zero among them, zero itself exactly.
template <uint32_t Group>
void encode_zero_point(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group, in += Group, out += 5 + Group / 2) {
    const Extent e = extent<Group>(in, 0, 0);
    const float scale = usable(e.high / 15 - e.low / 15);
    const int zero = nearest(-e.low, scale, 0, 15);
    write_float(out, scale);
    out[4] = uint8_t(zero);
    pack_nibbles<Group>(out + 5, [&](uint32_t i) { return zero + nearest(in[i], scale, -zero, 15 - zero); });
  }
}
template <uint32_t Group>
void encode_offset(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group, in += Group, out += 8 + Group / 2) {
    Extent e = extent<Group>(in, FLT_MAX, -FLT_MAX);
    if (e.low > e.high) e = {0, 0};
    const float scale = usable(e.high / 15 - e.low / 15);
    write_float(out, scale);
    write_float(out + 4, e.low);
    pack_nibbles<Group>(out + 8, [&](uint32_t i) { return nearest(in[i] - e.low, scale, 0, 15); });
  }
}
template <uint32_t Group>
void encode_signed_bytes(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group, in += Group, out += 4 + Group) {
    const Extent e = extent<Group>(in, 0, 0);
    const float scale = usable(std::max(e.high, -e.low) / 127);
    write_float(out, scale);
    for (uint32_t i = 0; i < Group; ++i)
      out[4 + i] = uint8_t(int8_t(std::isnan(in[i]) ? 0 : nearest(in[i], scale, -127, 127)));
  }
}

/// Blocks of 32 codes of `Bits` bits in parts (formats.inc): nibbles, two bits, one.
template <uint32_t Bits>
constexpr uint32_t kPairBit = Bits < 4 ? 0 : 4;
template <uint32_t Bits>
constexpr uint32_t kPartBytes = 4 * Bits;
template <uint32_t Bits>
uint8_t get_part(const uint8_t* block, uint32_t j) {
  uint32_t code = 0;
  if constexpr (Bits >= 4) {
    code = block[j % 16] >> (j < 16 ? 0 : 4) & 15;
    block += 16;
  }
  if constexpr (Bits % 4 >= 2) {
    code |= uint32_t(block[j % 8] >> (2 * (j / 8)) & 3) << kPairBit<Bits>;
    block += 8;
  }
  if constexpr (Bits % 2 == 1) code |= uint32_t(block[j / 8] >> (j % 8) & 1) << (Bits - 1);
  return uint8_t(code);
}
template <uint32_t Bits>
void put_part(uint8_t* block, uint32_t j, uint32_t code) {  // onto zeros
  if constexpr (Bits >= 4) {
    block[j % 16] = uint8_t(block[j % 16] | (code & 15) << (j < 16 ? 0 : 4));
    block += 16;
  }
  if constexpr (Bits % 4 >= 2) {
    block[j % 8] = uint8_t(block[j % 8] | (code >> kPairBit<Bits> & 3) << (2 * (j / 8)));
    block += 8;
  }
  if constexpr (Bits % 2 == 1) block[j / 8] = uint8_t(block[j / 8] | (code >> (Bits - 1) & 1) << (j % 8));
}

/// Groups of 64 of codes of `Bits` bits, of 8 as signed bytes, behind a scale and an offset.
constexpr uint32_t kPartGroup = 64;
template <uint32_t Bits>
constexpr uint32_t kPartGroupBytes = 8 + kPartGroup / 32 * kPartBytes<Bits>;
template <uint32_t Bits>
void put_parts(const uint8_t* codes, uint8_t* group) {
  std::memset(group + 8, 0, kPartGroupBytes<Bits> - 8);
  for (uint32_t i = 0; i < kPartGroup; ++i) {
    if constexpr (Bits == 8) {
      group[8 + i] = uint8_t(codes[i] ^ 0x80);
    } else {
      put_part<Bits>(group + 8 + i / 32 * kPartBytes<Bits>, i % 32, codes[i]);
    }
  }
}
template <uint32_t Bits>
void decode_parts(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= kPartGroup, out += kPartGroup, in += kPartGroupBytes<Bits>) {
    const float scale = read_float(in), offset = read_float(in + 4);
    for (uint32_t i = 0; i < kPartGroup; ++i) {
      const int code = Bits == 8 ? int(int8_t(in[8 + i])) : get_part<Bits>(in + 8 + i / 32 * kPartBytes<Bits>, i % 32);
      const float product = scale * float(code);
      out[i] = product + offset;
    }
  }
}
template <uint32_t Bits>
void encode_parts(const float* in, uint64_t n, uint8_t* out) {
  constexpr int kMost = (1 << Bits) - 1;
  for (; n > 0; n -= kPartGroup, in += kPartGroup, out += kPartGroupBytes<Bits>) {
    Extent e = extent<kPartGroup>(in, FLT_MAX, -FLT_MAX);
    if (e.low > e.high) e = {0, 0};
    const float scale = usable(e.high / kMost - e.low / kMost);
    write_float(out, scale);
    write_float(out + 4, Bits == 8 ? e.low + 128 * scale : e.low);
    uint8_t codes[kPartGroup];
    for (uint32_t i = 0; i < kPartGroup; ++i) codes[i] = uint8_t(nearest(in[i] - e.low, scale, 0, kMost));
    put_parts<Bits>(codes, out);
  }
}

/// Code 128 is zero.
template <uint32_t Group>
void put_signed_bytes(const uint8_t* codes, uint8_t* block) {
  for (uint32_t i = 0; i < Group; ++i) block[4 + i] = uint8_t(codes[i] ^ 0x80);
}

}  // namespace

#define VIBEE_PUT(id, group, header)                                                 \
  void put_codes_##id(const uint8_t* codes, uint8_t* block) {                        \
    pack_nibbles<group>(block + (header), [codes](uint32_t i) { return codes[i]; }); \
  }
VIBEE_PUT(i4z32, 32, 5)
VIBEE_PUT(i4z64, 64, 5)
VIBEE_PUT(i4z128, 128, 5)
VIBEE_PUT(i4m32, 32, 8)
VIBEE_PUT(i4m64, 64, 8)
VIBEE_PUT(i4m128, 128, 8)
#undef VIBEE_PUT
#define VIBEE_PARTS(id, bits)                                                                                   \
  void put_codes_##id(const uint8_t* codes, uint8_t* block) { put_parts<bits>(codes, block); }                  \
  void encode_##id(const float* in, uint64_t n, const float*, uint8_t* out) { encode_parts<bits>(in, n, out); } \
  void decode_##id(const uint8_t* in, uint64_t n, float* out) { decode_parts<bits>(in, n, out); }
VIBEE_PARTS(i3m64, 3)
VIBEE_PARTS(i5m64, 5)
VIBEE_PARTS(i6m64, 6)
VIBEE_PARTS(i7m64, 7)
VIBEE_PARTS(i8m64, 8)
#undef VIBEE_PARTS
void put_codes_i8s32(const uint8_t* codes, uint8_t* block) { put_signed_bytes<32>(codes, block); }
void put_codes_i8s64(const uint8_t* codes, uint8_t* block) { put_signed_bytes<64>(codes, block); }
void put_codes_i8s128(const uint8_t* codes, uint8_t* block) { put_signed_bytes<128>(codes, block); }

void encode_i4z32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_zero_point<32>(in, n, out); }
void encode_i4z64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_zero_point<64>(in, n, out); }
void encode_i4z128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_zero_point<128>(in, n, out); }
void encode_i4m32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_offset<32>(in, n, out); }
void encode_i4m64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_offset<64>(in, n, out); }
void encode_i4m128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_offset<128>(in, n, out); }
void encode_i8s32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_signed_bytes<32>(in, n, out); }
void encode_i8s64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_signed_bytes<64>(in, n, out); }
void encode_i8s128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_signed_bytes<128>(in, n, out); }

void decode_i4z32(const uint8_t* in, uint64_t n, float* out) { zero_point<32>(in, n, out); }
void decode_i4z64(const uint8_t* in, uint64_t n, float* out) { zero_point<64>(in, n, out); }
void decode_i4z128(const uint8_t* in, uint64_t n, float* out) { zero_point<128>(in, n, out); }
void decode_i4m32(const uint8_t* in, uint64_t n, float* out) { offset<32>(in, n, out); }
void decode_i4m64(const uint8_t* in, uint64_t n, float* out) { offset<64>(in, n, out); }
void decode_i4m128(const uint8_t* in, uint64_t n, float* out) { offset<128>(in, n, out); }
void decode_i8s32(const uint8_t* in, uint64_t n, float* out) { signed_bytes<32>(in, n, out); }
void decode_i8s64(const uint8_t* in, uint64_t n, float* out) { signed_bytes<64>(in, n, out); }
void decode_i8s128(const uint8_t* in, uint64_t n, float* out) { signed_bytes<128>(in, n, out); }

}  // namespace vibee
