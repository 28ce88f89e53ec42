// SPDX-License-Identifier: Apache-2.0
// Names from files and users inside one-line messages: quoted, control characters escaped, long ones cut.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace vibee {

inline std::string quote(std::string_view text, size_t limit = 80) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == limit) {
      out += "...";
      break;
    }
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += char(c);
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += char(c);
    }
  }
  return out + '"';
}

/// Control characters would let a hostile file name or model name write to the terminal or break the line.
inline std::string one_line(std::string_view text) {
  std::string out;
  for (char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return out;
}

}  // namespace vibee
