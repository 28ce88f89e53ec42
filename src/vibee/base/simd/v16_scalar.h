// SPDX-License-Identifier: Apache-2.0
// V16: sixteen float lanes, the one vector width of every float kernel. The same kernel source is compiled once an
// instruction set (x_scalar.cc, x_avx2.cc, x_avx512.cc); each operation below rounds alike in all three, so the bytes
// agree. Everything lives in an unnamed namespace: objects built with ISA flags must not export a symbol another object
// could pick.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "vibee/base/math/half.h"

namespace vibee {
namespace {

struct V16 {
  float lane[16];
};
struct M16 {
  uint16_t bits;
};
inline constexpr uint32_t kV16Sums = 4;

#define VIBEE_LANES(expr)                          \
  V16 r;                                           \
  for (int i = 0; i < 16; ++i) r.lane[i] = (expr); \
  return r

inline V16 v_zero() { return V16{}; }
inline V16 v_set(float x) { VIBEE_LANES(x); }
inline V16 v_load(const float* p) { VIBEE_LANES(p[i]); }
inline void v_store(float* p, V16 a) { std::memcpy(p, a.lane, sizeof a.lane); }
/// Lanes at and beyond n are zero; n may be negative or above 16.
inline V16 v_load_n(const float* p, int n) { VIBEE_LANES(i < n ? p[i] : 0.0f); }
inline void v_store_n(float* p, V16 a, int n) {
  for (int i = 0; i < 16 && i < n; ++i) p[i] = a.lane[i];
}
inline V16 v_load_half(const uint16_t* p) { VIBEE_LANES(half_to_float(p[i])); }
inline void v_store_half(uint16_t* p, V16 a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_half(a.lane[i]);
}
inline V16 v_load_bf16(const uint16_t* p) { VIBEE_LANES(bf16_to_float(p[i])); }
/// Bytes whose bit Sign is a sign and whose lower bits are, moved by Shift, those of a half's magnitude.
template <uint32_t Sign, int Shift>
inline V16 v_load_minifloat(const uint8_t* p) {
  constexpr uint32_t kUp = 0x8000 / Sign;
  VIBEE_LANES(half_to_float(uint16_t((p[i] & Sign) * kUp | (p[i] & (Sign - 1)) << Shift)));
}
/// The same of six bits: the low or high nibbles, and two bits of `pairs` from bit Pair on.
template <int Shift, bool kHigh, int Pair>
inline V16 v_load_minifloat6(const uint8_t* nibbles, const uint8_t* pairs) {
  uint8_t code[16];
  for (int i = 0; i < 16; ++i)
    code[i] = uint8_t((kHigh ? nibbles[i] >> 4 : nibbles[i] & 15) | (pairs[i] >> Pair & 3) << 4);
  return v_load_minifloat<0x20, Shift>(code);
}
/// Powers of two by E8M0.
inline V16 v_load_e8m0(const uint8_t* p) {
  VIBEE_LANES(std::bit_cast<float>(p[i] == 0 ? uint32_t(0x00400000) : uint32_t(p[i]) << 23));
}
/// Of sixteen bytes the values that their low or high nibbles name.
template <bool kHigh>
inline V16 v_look_up(const uint8_t* p, const float* table) {
  VIBEE_LANES(table[kHigh ? p[i] >> 4 : p[i] & 15]);
}
/// Sixteen whole numbers of 32 bits: indices of tables.
struct U16 {
  uint32_t lane[16];
};
inline U16 u_zero() { return U16{}; }
inline U16 u_load(const uint8_t* p) {
  U16 r;
  std::memcpy(r.lane, p, sizeof r.lane);
  return r;
}
template <uint32_t kBy>
inline U16 u_right(U16 a) {
  for (uint32_t& lane : a.lane) lane >>= kBy;
  return a;
}
template <uint32_t kBy>
inline U16 u_left(U16 a) {
  for (uint32_t& lane : a.lane) lane <<= kBy;
  return a;
}
inline U16 operator|(U16 a, U16 b) {
  for (int i = 0; i < 16; ++i) a.lane[i] |= b.lane[i];
  return a;
}
/// Each lane twice what it was, and its bit of sixteen.
inline U16 u_append_bits(U16 a, uint16_t bits) {
  for (int i = 0; i < 16; ++i) a.lane[i] = a.lane[i] << 1 | (bits >> i & 1);
  return a;
}
/// The elements of a table of 2^kBits (at least 16 are there) that the low bits of the lanes name.
template <uint32_t kBits>
inline V16 v_table(U16 index, const float* table) {
  VIBEE_LANES(table[index.lane[i] & ((1u << kBits) - 1)]);
}
/// Round to nearest even; NaN stays a quiet NaN.
inline void v_store_bf16(uint16_t* p, V16 a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_bf16(a.lane[i]);
}
inline V16 v_load_i8(const int8_t* p) { VIBEE_LANES(float(p[i])); }
/// Round to nearest even and store as int8; the caller keeps |a| <= 127.
inline void v_store_i8(int8_t* p, V16 a) {
  for (int i = 0; i < 16; ++i) p[i] = int8_t(std::nearbyint(a.lane[i]));
}
inline V16 operator+(V16 a, V16 b) { VIBEE_LANES(a.lane[i] + b.lane[i]); }
inline V16 operator-(V16 a, V16 b) { VIBEE_LANES(a.lane[i] - b.lane[i]); }
inline V16 operator*(V16 a, V16 b) { VIBEE_LANES(a.lane[i] * b.lane[i]); }
inline V16 operator/(V16 a, V16 b) { VIBEE_LANES(a.lane[i] / b.lane[i]); }
/// a * b + c, rounded once.
inline V16 v_fma(V16 a, V16 b, V16 c) { VIBEE_LANES(std::fma(a.lane[i], b.lane[i], c.lane[i])); }
/// As maxps: the second operand when either is NaN.
inline V16 v_max(V16 a, V16 b) { VIBEE_LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]); }
inline V16 v_min(V16 a, V16 b) { VIBEE_LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]); }
inline V16 v_sqrt(V16 a) { VIBEE_LANES(std::sqrt(a.lane[i])); }
inline V16 v_round(V16 a) { VIBEE_LANES(std::nearbyint(a.lane[i])); }
inline V16 v_abs(V16 a) { VIBEE_LANES(std::fabs(a.lane[i])); }
/// 2^n for whole n in [-126, 127].
inline V16 v_pow2(V16 n) {
  VIBEE_LANES(n.lane[i] == n.lane[i] ? std::bit_cast<float>(uint32_t(int32_t(n.lane[i]) + 127) << 23) : 0.0f);
}
inline M16 v_less(V16 a, V16 b) {
  M16 m{0};
  for (int i = 0; i < 16; ++i) m.bits = uint16_t(m.bits | (a.lane[i] < b.lane[i]) << i);
  return m;
}
inline M16 m_from_bits(uint32_t bits) { return M16{uint16_t(bits)}; }
inline uint32_t m_bits(M16 m) { return m.bits; }
/// m ? a : b
inline V16 v_select(M16 m, V16 a, V16 b) { VIBEE_LANES((m.bits >> i & 1) ? a.lane[i] : b.lane[i]); }
inline V16 v_broadcast(const float* p) { return v_set(*p); }
/// Four floats from each of four places: lanes 4g .. 4g + 3 are those at the g-th.
inline V16 v_load_4x4(const float* a, const float* b, const float* c, const float* d) {
  V16 r;
  std::memcpy(r.lane, a, 16);
  std::memcpy(r.lane + 4, b, 16);
  std::memcpy(r.lane + 8, c, 16);
  std::memcpy(r.lane + 12, d, 16);
  return r;
}
/// In each group of four lanes, the four vectors as rows of a 4 x 4 matrix are transposed.
inline void v_transpose_4x4(V16& a, V16& b, V16& c, V16& d) {
  V16* t[4] = {&a, &b, &c, &d};
  for (int g = 0; g < 16; g += 4)
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < i; ++j) {
        const float x = t[i]->lane[g + j];
        t[i]->lane[g + j] = t[j]->lane[g + i];
        t[j]->lane[g + i] = x;
      }
}

inline float v_sum(V16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}
inline float v_hmax(V16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  return a.lane[0];
}
#undef VIBEE_LANES

}  // namespace
}  // namespace vibee
