// SPDX-License-Identifier: Apache-2.0
// UTF-8 as bytes that nobody promised to be valid: the tokenizers and the detokeniser only ever step by these two
// functions. Well-formed means the table 3-7 of the Unicode standard (no overlong forms, no surrogates, at most
// U+10FFFF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vibee {

/// What stands at the front of a text: a whole character, the beginning of one that the text cuts off, or neither.
struct Utf8Step {
  enum Kind : uint8_t { character, partial, invalid };
  Kind kind;
  uint8_t length;  ///< bytes: of the character, or of the longest part that could have begun one (at least 1)
  uint32_t code;   ///< the code point when kind == character
};

/// `text` must not be empty.
inline Utf8Step utf8_step(std::string_view text) {
  const auto at = [&](size_t i) { return uint8_t(text[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return {Utf8Step::character, 1, lead};
  const int more = lead >= 0xc2 && lead <= 0xdf   ? 1
                   : lead >= 0xe0 && lead <= 0xef ? 2
                   : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                  : 0;
  if (more == 0) return {Utf8Step::invalid, 1, 0};
  uint32_t code = lead & (0x3f >> more);
  for (int i = 1; i <= more; ++i) {
    if (size_t(i) >= text.size()) return {Utf8Step::partial, uint8_t(i), 0};
    const uint8_t low = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at(i) < low || at(i) > high) return {Utf8Step::invalid, uint8_t(i), 0};
    code = code << 6 | (at(i) & 0x3f);
  }
  return {Utf8Step::character, uint8_t(more + 1), code};
}

inline void append_utf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    *out += char(code);
  } else if (code < 0x800) {
    *out += {char(0xc0 | code >> 6), char(0x80 | (code & 0x3f))};
  } else if (code < 0x10000) {
    *out += {char(0xe0 | code >> 12), char(0x80 | (code >> 6 & 0x3f)), char(0x80 | (code & 0x3f))};
  } else {
    *out += {char(0xf0 | code >> 18), char(0x80 | (code >> 12 & 0x3f)), char(0x80 | (code >> 6 & 0x3f)),
             char(0x80 | (code & 0x3f))};
  }
}

}  // namespace vibee
