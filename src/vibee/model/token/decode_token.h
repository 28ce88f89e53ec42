// SPDX-License-Identifier: Apache-2.0
// From the text of a token in the vocabulary to the bytes it stands for in the middle of a text.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

inline constexpr std::string_view kSpaceSign = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a space

/// GPT-2 writes bytes as printable characters: those that are printable as themselves, the others from U+0100 on, in
/// order.
inline constexpr std::array<uint32_t, 256> kByteToChar = [] {
  std::array<uint32_t, 256> table{};
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    table[b] = printable ? b : next++;
  }
  return table;
}();

/// The bytes a text of such characters stands for; text with any other character in it stands for itself.
std::string bytes_of(std::string_view text);
/// The byte a text of the form <0xHH> names, or -1.
int byte_of(std::string_view text);
/// The decoders applied to one token that is not the first of its text.
std::string decode_token(const std::vector<DecoderStep>& steps, std::string_view token);

}  // namespace vibee
