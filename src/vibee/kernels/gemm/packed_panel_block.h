// SPDX-License-Identifier: Apache-2.0
// How block programs read panels of 16 rows. Four rows and eight k of a block at once, 16 bytes a load where codes are
// nibbles or bytes: what a lane brings to two mma of m16n8k32 whose sixteen rows are those of two panels. Codes become
// signed bytes, less the format's zero point; zero points of a header are met by the sum of the other operand.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/gemm/packed_gemm_launch.h"

namespace vibee {

constexpr uint32_t kPanelRows = 16, kBlockDepth = 32, kFour = 4;

VIBEE_BLOCK uint32_t float_bits(float v) {
  union {
    float v;
    uint32_t bits;
  } both = {v};
  return both.bits;
}
VIBEE_BLOCK float bits_float(uint32_t bits) {
  union {
    uint32_t bits;
    float v;
  } both = {bits};
  return both.v;
}

/// Of four rows, four codes a word: k = 4t .. 4t+3 of a block (low) and those 16 behind (high).
struct CodeWords {
  uint32_t low[kFour], high[kFour];
};
/// The constants of a block for four rows, as Block32 of panel.h has them.
struct BlockScales {
  float dw[2][kFour], mw[kFour];
  int32_t sc[2][kFour], mn[2][kFour], zero[kFour];
};

VIBEE_BLOCK uint64_t panel_header_at(const PanelForm& form, uint64_t panel, uint32_t block) {
  return panel * form.stride + uint64_t(block / form.superblock) * (form.header + form.superblock * form.codes);
}
VIBEE_BLOCK uint64_t panel_codes_at(const PanelForm& form, uint64_t panel, uint32_t block) {
  return panel_header_at(form, panel, block) + form.header + block % form.superblock * form.codes;
}

template <class Block>
VIBEE_BLOCK Vector16<uint32_t> panel_words(Block& b, const void* panels, uint64_t at) {
  return b.load16(static_cast<const uint32_t*>(panels), at / 4);
}
template <class Block>
VIBEE_BLOCK uint32_t panel_word(Block& b, const void* panels, uint64_t at) {
  return b.load(static_cast<const uint32_t*>(panels), at / 4);
}
template <class Block>
VIBEE_BLOCK float panel_half(Block& b, const void* panels, uint64_t at) {
  return b.to_float(b.load(static_cast<const Half*>(panels), at / 2));
}

/// Bytes less `zero` each; bytes and zero are below 128.
VIBEE_BLOCK uint32_t less_zero(uint32_t word, uint32_t zero) {
  return ((word | 0x80808080u) - zero * 0x01010101u) ^ 0x80808080u;
}
/// Four nibbles, a byte each, become the values they name.
VIBEE_BLOCK uint32_t named_values(const uint32_t (&values)[4], uint32_t codes) {
  const uint64_t first = uint64_t(values[1]) << 32 | values[0], last = uint64_t(values[3]) << 32 | values[2];
  uint32_t out = 0;
  VIBEE_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t code = codes >> (8 * i) & 15;
    out |= uint32_t((code < 8 ? first : last) >> (8 * (code & 7)) & 0xff) << (8 * i);
  }
  return out;
}
/// Bit i of four becomes bit 0 of byte i.
VIBEE_BLOCK uint32_t bits_apart(uint32_t bits) { return (bits & 15) * 0x00204081u & 0x01010101u; }

/// Rows 4 * quad .. of a panel.
template <PanelCodes kKind, class Block>
VIBEE_BLOCK CodeWords panel_codes(Block& b, const PanelForm& form, const void* panels, uint64_t panel, uint32_t block,
                                  uint32_t quad, uint32_t t) {
  constexpr uint32_t kNibble = 0x0f0f0f0fu, kTop = 0x80808080u;
  uint64_t at = panel_codes_at(form, panel, block);
  const uint32_t word = (t * kPanelRows + quad * kFour) * 4, turned = 4 * kPanelRows * 4;
  CodeWords w = {};
  if constexpr (kKind == PanelCodes::bytes) {
    const Vector16<uint32_t> low = panel_words(b, panels, at + word), high = panel_words(b, panels, at + turned + word);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) w.low[j] = low.at[j] ^ kTop, w.high[j] = high.at[j] ^ kTop;
    return w;
  }
  if (kKind != PanelCodes::parts || form.nibbles) {
    const Vector16<uint32_t> both = panel_words(b, panels, at + word);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) w.low[j] = both.at[j] & kNibble, w.high[j] = both.at[j] >> 4 & kNibble;
    at += 16 * kPanelRows;
  }
  if constexpr (kKind == PanelCodes::named) {
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) {
      w.low[j] = named_values(form.values, w.low[j]);
      w.high[j] = named_values(form.values, w.high[j]);
    }
    return w;
  }
  if constexpr (kKind == PanelCodes::nibbles) {
    if (block >= form.kept_from) {
      const Vector16<uint32_t> top =
          panel_words(b, panels, panel * form.stride + form.tail + (block - form.kept_from) * form.codes + word);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) {
        w.low[j] = (w.low[j] | (top.at[j] & kNibble) << 4) ^ kTop;
        w.high[j] = (w.high[j] | (top.at[j] & (kNibble << 4))) ^ kTop;
      }
      return w;
    }
  } else {
    if (form.pair_bit >= 0) {
      const Vector16<uint32_t> low = panel_words(b, panels, at + quad * kFour * 4),
                               high = panel_words(b, panels, at + (kPanelRows + quad * kFour) * 4);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) {
        w.low[j] |= (low.at[j] >> (2 * t) & 0x03030303u) << form.pair_bit;
        w.high[j] |= (high.at[j] >> (2 * t) & 0x03030303u) << form.pair_bit;
      }
      at += 8 * kPanelRows;
    }
    if (form.single_bit >= 0) {
      const auto* masks = static_cast<const uint16_t*>(panels);
      const uint32_t low = b.load(masks, (at + t * 8) / 2 + quad), high = b.load(masks, (at + 32 + t * 8) / 2 + quad);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) {
        w.low[j] |= bits_apart(low >> (4 * j)) << form.single_bit;
        w.high[j] |= bits_apart(high >> (4 * j)) << form.single_bit;
      }
    }
  }
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kFour; ++j) {
    w.low[j] = less_zero(w.low[j], form.zero);
    w.high[j] = less_zero(w.high[j], form.zero);
  }
  return w;
}

/// Half of E8M0 and of E4M3 without a sign (formats/codebook/tables.h); panels keep no NaN of E4M3.
VIBEE_BLOCK float half_of_e8m0(uint32_t e) { return bits_float(e < 2 ? 0x00200000u << e : (e - 1) << 23); }
VIBEE_BLOCK float half_of_e4m3(uint32_t c) {
  const uint32_t exponent = c >> 3 & 15, mantissa = c & 7;
  return exponent == 0 ? float(mantissa) * 0x1p-10f : bits_float((exponent + 119) << 23 | mantissa << 20);
}
VIBEE_BLOCK uint32_t byte_of(uint32_t word, uint32_t j) { return word >> (8 * j) & 0xff; }
VIBEE_BLOCK int32_t signed_byte(uint32_t word, uint32_t j) { return int32_t(int8_t(byte_of(word, j))); }

/// Whether sixteen k of such codes may have a scale of their own; what never happens takes no registers.
VIBEE_BLOCK_AND_HOST constexpr bool may_have_halves(PanelCodes kind) {
  return kind == PanelCodes::parts || kind == PanelCodes::named;
}

/// What the header says of `block`. Its branches are the same for all threads.
template <PanelCodes kKind, class Block>
VIBEE_BLOCK BlockScales panel_scales(Block& b, const PanelForm& form, const void* panels, uint64_t panel,
                                     uint32_t block, uint32_t quad) {
  const uint64_t at = panel_header_at(form, panel, block);
  const uint32_t in = block % form.superblock, first = quad * kFour;
  const auto bytes = [&](uint32_t line) { return panel_word(b, panels, at + line * kPanelRows + first); };
  BlockScales s = {};
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kFour; ++j) s.sc[0][j] = s.sc[1][j] = s.mn[0][j] = s.mn[1][j] = 1;
  if (may_have_halves(kKind) && (form.scales == PanelScales::e8 || form.scales == PanelScales::e4)) {
    const bool e8 = form.scales == PanelScales::e8;
    const uint32_t low = bytes(0), high = e8 ? low : bytes(1);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) {
      s.dw[0][j] = e8 ? half_of_e8m0(byte_of(low, j)) : half_of_e4m3(byte_of(low, j));
      s.dw[1][j] = e8 ? s.dw[0][j] : half_of_e4m3(byte_of(high, j));
    }
    return s;
  }
  if (form.scales >= PanelScales::whole && form.scales != PanelScales::row) {
    const Vector16<uint32_t> d = panel_words(b, panels, at + 4 * first);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) s.dw[0][j] = s.dw[1][j] = bits_float(d.at[j]);
    if (form.scales == PanelScales::whole_zero) {
      const uint32_t zero = bytes(4);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) s.zero[j] = int32_t(byte_of(zero, j));
    }
    if (form.scales == PanelScales::whole_offset) {
      const Vector16<uint32_t> m = panel_words(b, panels, at + 4 * (kPanelRows + first));
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) s.mw[j] = bits_float(m.at[j]);
    }
    return s;
  }
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kFour; ++j) {
    s.dw[0][j] = s.dw[1][j] = panel_half(b, panels, at + 2 * (first + j));
    if (form.has_min) s.mw[j] = panel_half(b, panels, at + 2 * (kPanelRows + first + j));
  }
  if (form.scales == PanelScales::row) {
    const uint32_t both = bytes(2);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) {
      s.sc[0][j] = s.sc[1][j] = int32_t(byte_of(both, j) & 15) + 1;
      s.zero[j] = int32_t(byte_of(both, j) >> 4);
    }
  } else if (form.scales == PanelScales::k) {
    const uint32_t sc = bytes(4 + in), mn = bytes(12 + in);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) {
      s.dw[0][j] = s.dw[1][j] = s.dw[0][j] * float(byte_of(sc, j));
      s.mw[j] = -(s.mw[j] * float(byte_of(mn, j)));
    }
  } else if (may_have_halves(kKind) && form.scales == PanelScales::k2) {
    const uint32_t low = bytes(4 + 2 * in), high = bytes(5 + 2 * in);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) {
      s.mw[j] = -s.mw[j];
      s.sc[0][j] = int32_t(byte_of(low, j) & 15), s.mn[0][j] = int32_t(byte_of(low, j) >> 4);
      s.sc[1][j] = int32_t(byte_of(high, j) & 15), s.mn[1][j] = int32_t(byte_of(high, j) >> 4);
    }
  } else if (may_have_halves(kKind) && form.scales == PanelScales::k6) {
    const uint32_t low = bytes(2 + 2 * in), high = bytes(3 + 2 * in);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) s.sc[0][j] = signed_byte(low, j), s.sc[1][j] = signed_byte(high, j);
  } else if (form.scales == PanelScales::ks) {
    const uint32_t sc = bytes(2 + in);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kFour; ++j) s.dw[0][j] = s.dw[1][j] = s.dw[0][j] * float(signed_byte(sc, j));
  }
  return s;
}

}  // namespace vibee
