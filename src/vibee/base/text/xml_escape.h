// SPDX-License-Identifier: Apache-2.0
// Text inside pages of HTML and drawings of SVG.
#pragma once

#include <string>
#include <string_view>

namespace vibee {

inline std::string xml_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace vibee
