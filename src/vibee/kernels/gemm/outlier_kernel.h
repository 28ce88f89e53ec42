// SPDX-License-Identifier: Apache-2.0
// A column of a panel as floats, in loops over the panel's rows that compilers make vectors of: panel_block and
// decode_row of panel.cc turned by ninety degrees. Included by outliers_<isa>.cc alone.
#pragma once

#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/codebook/tables.h"
#include "vibee/kernels/gemm/outliers.h"

namespace vibee {
namespace {

template <uint32_t NR>
void codes_of(const PanelColumn& c, int32_t* code) {
  const uint32_t g = c.element / 4, in_word = c.element % 4;
  const uint8_t* at = c.codes;
  uint32_t word[NR];
  if (c.layout.codes == Codes::s8) {
    std::memcpy(word, at + 4 * NR * g, 4 * NR);
    constexpr uint32_t kFlip = NR == 16 ? 0 : 0x80;  // as they stand in panels of 8
    for (uint32_t r = 0; r < NR; ++r) code[r] = int32_t((word[r] >> (8 * in_word) & 0xff) ^ kFlip);
    return;
  }
  std::memset(code, 0, 4 * NR);
  if (c.parts.nibbles) {
    std::memcpy(word, at + 4 * NR * (g % 4), 4 * NR);
    const uint32_t shift = 8 * in_word + (g < 4 ? 0 : 4);
    for (uint32_t r = 0; r < NR; ++r) code[r] = int32_t(word[r] >> shift & 15);
    at += 16 * NR;
  }
  if (c.parts.pair_bit >= 0) {
    std::memcpy(word, at + 4 * NR * (g / 4), 4 * NR);
    const uint32_t shift = 8 * in_word + 2 * (g % 4);
    for (uint32_t r = 0; r < NR; ++r) code[r] |= int32_t((word[r] >> shift & 3) << c.parts.pair_bit);
    at += 8 * NR;
  }
  if (c.parts.single_bit >= 0) {
    for (uint32_t r = 0; r < NR; ++r) {
      const uint32_t bit = NR == 8 ? at[4 * r + in_word] >> g : at[g * (NR / 2) + r / 2] >> (4 * (r & 1) + in_word);
      code[r] |= int32_t(bit & 1) << c.parts.single_bit;
    }
  }
  for (uint32_t r = 0; r < NR && c.layout.codes == Codes::iq4; ++r) code[r] = 128 + kIq4Values[code[r]];
  for (uint32_t r = 0; r < NR && c.layout.codes == Codes::e2m1; ++r) code[r] = 12 + kE2m1Doubled[code[r]];
}

/// What Block32 has, of one half of a block and NR rows.
template <uint32_t NR>
struct Scales {
  float dw[NR], mw[NR] = {};
  int32_t sc[NR], mn[NR], zero[NR];
  bool has_min = false;

  explicit Scales(const PanelColumn& c) {
    const uint8_t* at = c.header;
    const uint32_t j = c.block, h = c.element / 16;
    for (uint32_t r = 0; r < NR; ++r) sc[r] = mn[r] = 1, zero[r] = c.layout.zero;
    switch (c.layout.header) {
      case PanelHeader::e8:
        for (uint32_t r = 0; r < NR; ++r) dw[r] = e8m0_half(at[r]);
        return;
      case PanelHeader::e4:  // the top bit tells 480 from the file's NaN
        for (uint32_t r = 0; r < NR; ++r) dw[r] = ue4m3_half(at[h * NR + r] | 0x80);
        return;
      case PanelHeader::z32:
      case PanelHeader::z64:
      case PanelHeader::z128:
        std::memcpy(dw, at, sizeof dw);
        for (uint32_t r = 0; r < NR; ++r) zero[r] = at[4 * NR + r];
        return;
      case PanelHeader::m32:
      case PanelHeader::m64:
      case PanelHeader::m128:
        std::memcpy(dw, at, sizeof dw);
        std::memcpy(mw, at + 4 * NR, sizeof mw);
        has_min = true;
        return;
      case PanelHeader::s32:
      case PanelHeader::s64:
      case PanelHeader::s128: std::memcpy(dw, at, sizeof dw); return;
      case PanelHeader::r32:
      case PanelHeader::r64:
      case PanelHeader::r128:
        halves(at, dw);
        for (uint32_t r = 0; r < NR; ++r) {
          sc[r] = (at[2 * NR + r] & 15) + 1;
          zero[r] = at[2 * NR + r] >> 4;
        }
        return;
      default: break;
    }
    halves(at, dw);
    switch (c.layout.header) {
      case PanelHeader::dm:
        halves(at + 2 * NR, mw);
        has_min = true;
        return;
      case PanelHeader::k:
        halves(at + 2 * NR, mw);
        for (uint32_t r = 0; r < NR; ++r) {
          dw[r] = dw[r] * float(at[(4 + j) * NR + r]);
          mw[r] = -(mw[r] * float(at[(12 + j) * NR + r]));
        }
        has_min = true;
        return;
      case PanelHeader::k2:
        halves(at + 2 * NR, mw);
        for (uint32_t r = 0; r < NR; ++r) {
          mw[r] = -mw[r];
          sc[r] = at[(4 + 2 * j + h) * NR + r] & 15;
          mn[r] = at[(4 + 2 * j + h) * NR + r] >> 4;
        }
        has_min = true;
        return;
      case PanelHeader::k6:
        for (uint32_t r = 0; r < NR; ++r) sc[r] = int8_t(at[(2 + 2 * j + h) * NR + r]);
        return;
      case PanelHeader::ks:
        for (uint32_t r = 0; r < NR; ++r) dw[r] = dw[r] * float(int8_t(at[(2 + j) * NR + r]));
        return;
      default: return;
    }
  }
  static void halves(const uint8_t* at, float* out) {
    uint16_t some[16] = {};
    float wide[16];
    std::memcpy(some, at, 2 * NR);
    v_store(wide, v_load_half(some));
    std::memcpy(out, wide, 4 * NR);
  }
};

template <uint32_t NR>
void add_values(const PanelColumn& c, const uint32_t* rows, const float* values, uint32_t n, float* tile) {
  int32_t code[NR];
  codes_of<NR>(c, code);
  const Scales<NR> s(c);
  float w[NR];
  for (uint32_t r = 0; r < NR; ++r) w[r] = s.dw[r] * float(s.sc[r]) * float(code[r] - s.zero[r]);
  for (uint32_t r = 0; r < NR && s.has_min; ++r) w[r] = w[r] + s.mw[r] * float(s.mn[r]);
  float scale[NR];
  if (c.layout.row_scale) std::memcpy(scale, c.tail, sizeof scale);
  for (uint32_t r = 0; r < NR && c.layout.row_scale; ++r) w[r] = scale[r] * w[r];
  for (uint32_t i = 0; i < n; ++i) {
    float* out = tile + rows[i] * NR;
    for (uint32_t r = 0; r < NR; ++r) out[r] = __builtin_fmaf(values[i], w[r], out[r]);
  }
}

inline void add_any(const PanelColumn& c, const uint32_t* rows, const float* values, uint32_t n, float* tile) {
  c.nr == 8 ? add_values<8>(c, rows, values, n, tile) : add_values<16>(c, rows, values, n, tile);
}

}  // namespace
}  // namespace vibee
