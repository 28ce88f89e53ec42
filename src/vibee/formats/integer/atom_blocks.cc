// SPDX-License-Identifier: Apache-2.0
// Atom's weights (Zhao et al., MLSys 2024, arXiv:2310.19102): groups of a row in four bits around zero behind a half,
// and the last group in eight. The scale of four bits is 0.85 of what the largest weight asks for (section 5.1): what
// is beyond is clipped. Without the last group's bits it is plain W4A4.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/atom_scale.h"
#include "vibee/formats/packed/codec.h"

namespace vibee {
namespace {

/// To the nearest of -levels - 1 .. levels, what is not a number to zero.
int level(float x, float scale, int levels) {
  const float q = std::nearbyint(x / scale);
  return std::isnan(q) ? 0 : int(std::clamp(q, float(-levels - 1), float(levels)));
}

/// A group of `Group` elements: the half at `out`, low nibbles behind it; high ones, of bytes, at `high`.
template <uint32_t Group>
void encode_group(const float* in, uint8_t* out, uint8_t* high) {
  float largest = 0;
  for (uint32_t i = 0; i < Group; ++i)
    if (std::isfinite(in[i])) largest = std::max(largest, std::fabs(in[i]));
  const uint16_t half = atom_scale(largest, high != nullptr);
  const float scale = half_to_float(half);
  std::memcpy(out, &half, 2);
  const int levels = high ? kAtomKeptLevels : kAtomLevels, zero = levels + 1;
  const auto code = [&](uint32_t i) { return half == 0 ? zero : level(in[i], scale, levels) + zero; };
  for (uint32_t i = 0; i < Group / 2; ++i) {
    const uint32_t at = i / 16 * 32 + i % 16;
    const int a = code(at), b = code(at + 16);
    out[2 + i] = uint8_t((a & 15) | (b & 15) << 4);
    if (high) high[i] = uint8_t(a >> 4 | b >> 4 << 4);
  }
}
template <uint32_t Group>
void decode_group(const uint8_t* in, const uint8_t* high, float* out) {
  uint16_t half;
  std::memcpy(&half, in, 2);
  const float scale = half_to_float(half);
  const uint8_t* codes = in + 2;
  for (uint32_t i = 0; i < Group / 2; ++i) {
    const uint32_t at = i / 16 * 32 + i % 16;
    int a = codes[i] & 15, b = codes[i] >> 4, zero = kAtomLevels + 1;
    if (high) {
      a |= (high[i] & 15) << 4;
      b |= high[i] >> 4 << 4;
      zero = kAtomKeptLevels + 1;
    }
    out[at] = scale * float(a - zero);
    out[at + 16] = scale * float(b - zero);
  }
}

template <uint32_t Group>
void encode_plain(const float* in, uint64_t n, uint8_t* out) {
  for (; n > 0; n -= Group, in += Group, out += 2 + Group / 2) encode_group<Group>(in, out, nullptr);
}
template <uint32_t Group>
void decode_plain(const uint8_t* in, uint64_t n, float* out) {
  for (; n > 0; n -= Group, in += 2 + Group / 2, out += Group) decode_group<Group>(in, nullptr, out);
}
template <uint32_t Group>
void encode_row(const float* in, uint64_t n, uint8_t* out) {
  encode_plain<Group>(in, n - Group, out + Group / 2);
  encode_group<Group>(in + (n - Group), out + Group / 2 + (n / Group - 1) * (2 + Group / 2), out);
}
template <uint32_t Group>
void decode_row(const uint8_t* in, uint64_t n, float* out) {
  decode_plain<Group>(in + Group / 2, n - Group, out);
  decode_group<Group>(in + Group / 2 + (n / Group - 1) * (2 + Group / 2), in, out + (n - Group));
}

}  // namespace

void encode_i4a32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_plain<32>(in, n, out); }
void encode_i4a64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_plain<64>(in, n, out); }
void encode_i4a128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_plain<128>(in, n, out); }
void encode_atom32(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<32>(in, n, out); }
void encode_atom64(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<64>(in, n, out); }
void encode_atom128(const float* in, uint64_t n, const float*, uint8_t* out) { encode_row<128>(in, n, out); }

void decode_i4a32(const uint8_t* in, uint64_t n, float* out) { decode_plain<32>(in, n, out); }
void decode_i4a64(const uint8_t* in, uint64_t n, float* out) { decode_plain<64>(in, n, out); }
void decode_i4a128(const uint8_t* in, uint64_t n, float* out) { decode_plain<128>(in, n, out); }
void decode_atom32(const uint8_t* in, uint64_t n, float* out) { decode_row<32>(in, n, out); }
void decode_atom64(const uint8_t* in, uint64_t n, float* out) { decode_row<64>(in, n, out); }
void decode_atom128(const uint8_t* in, uint64_t n, float* out) { decode_row<128>(in, n, out); }

}  // namespace vibee
