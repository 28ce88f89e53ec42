// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/decode_token.h"

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/utf8.h"

namespace vibee {

std::string bytes_of(std::string_view text) {
  static const std::array<int16_t, 512> kCharToByte = [] {
    std::array<int16_t, 512> table;
    table.fill(-1);
    for (int b = 0; b < 256; ++b) table[kByteToChar[b]] = int16_t(b);
    return table;
  }();
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    if (step.kind != Utf8Step::character || step.code >= 512 || kCharToByte[step.code] < 0) return std::string(text);
    out += char(kCharToByte[step.code]);
    i += step.length;
  }
  return out;
}

int byte_of(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string decode_token(const std::vector<DecoderStep>& steps, std::string_view token) {
  std::string text(token);
  for (const DecoderStep& step : steps) {
    switch (step.kind) {
      case DecoderStep::byte_level: text = bytes_of(text); break;
      case DecoderStep::metaspace: text = py_replace(text, step.pattern, " ", -1); break;
      case DecoderStep::replace: text = py_replace(text, step.pattern, step.content, -1); break;
      case DecoderStep::wordpiece:
        text = text.starts_with(step.pattern) ? text.substr(step.pattern.size()) : " " + text;
        if (step.cleanup) {
          constexpr std::string_view kPairs[][2] = {
              {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
              {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
          for (const auto& [from, to] : kPairs) text = py_replace(text, from, to, -1);
        }
        break;
      case DecoderStep::byte_fallback:
      case DecoderStep::fuse:
      case DecoderStep::strip: break;  // the first two by the token's type, the last at the start of a text
    }
  }
  return text;
}

}  // namespace vibee
