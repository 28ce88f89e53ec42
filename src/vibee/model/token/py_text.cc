// SPDX-License-Identifier: Apache-2.0
// Case and printability come from a generated table (tools/make_unicode_tables.py); searching is memmem's two-way
// algorithm.
#include "vibee/model/token/py_text.h"

#include <fmt/core.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

struct CaseRange {
  uint32_t first, last, stride;
  int32_t delta;
};
struct CaseSpecial {
  uint32_t code;
  std::array<uint32_t, 3> to;
};
struct CodeRange {
  uint32_t first, last;
};
#include "vibee/model/token/unicode_tables.inc"

struct CaseMap {
  std::span<const CaseRange> ranges;
  std::span<const CaseSpecial> specials;
};
const CaseMap kToUpper{kUpper, kUpperSpecial}, kToLower{kLower, kLowerSpecial}, kToTitle{kTitle, kTitleSpecial};

/// Appends `code` mapped and tells whether that changed it.
bool append_mapped(uint32_t code, const CaseMap& map, std::string* out) {
  const auto special = std::lower_bound(map.specials.begin(), map.specials.end(), code,
                                        [](const CaseSpecial& s, uint32_t c) { return s.code < c; });
  if (special != map.specials.end() && special->code == code) {
    for (const uint32_t to : special->to) {
      if (to != 0) append_utf8(to, out);
    }
    return true;
  }
  // Rows may overlap where upper and lower case alternate; they are sorted by their first code.
  auto row = std::upper_bound(map.ranges.begin(), map.ranges.end(), code,
                              [](uint32_t c, const CaseRange& r) { return c < r.first; });
  for (int back = 0; back < 4 && row != map.ranges.begin(); ++back) {
    --row;
    if (code <= row->last && (code - row->first) % row->stride == 0) {
      append_utf8(uint32_t(int32_t(code) + row->delta), out);
      return true;
    }
  }
  append_utf8(code, out);
  return false;
}

bool is_cased(uint32_t code) {
  std::string scratch;
  return append_mapped(code, kToUpper, &scratch) || append_mapped(code, kToLower, &scratch);
}

bool printable(uint32_t code) {
  const auto row = std::upper_bound(std::begin(kNotPrintable), std::end(kNotPrintable), code,
                                    [](uint32_t c, const CodeRange& r) { return c < r.first; });
  return row == std::begin(kNotPrintable) || code > std::prev(row)->last;
}

constexpr uint32_t kCapitalSigma = 0x3a3, kFinalSigma = 0x3c2;

/// Lower case of the character at `at`; a sigma that ends a word has a form of its own.
void append_lower(std::string_view text, size_t at, uint32_t code, bool after_cased, std::string* out) {
  if (code == kCapitalSigma && after_cased) {
    const size_t behind = at + 2;
    const Utf8Step step = behind < text.size() ? utf8_step(text.substr(behind)) : Utf8Step{};
    const bool more = behind < text.size() && step.kind == Utf8Step::character && is_cased(step.code);
    if (!more) return append_utf8(kFinalSigma, out);
  }
  append_mapped(code, kToLower, out);
}

enum class Shape { upper, lower, capital, title };

std::string shaped(std::string_view text, Shape shape) {
  std::string out;
  bool after_cased = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    if (step.kind != Utf8Step::character) {
      out += text.substr(i, step.length);
      after_cased = false;
    } else if (shape == Shape::upper) {
      append_mapped(step.code, kToUpper, &out);
    } else {
      const bool starts = shape == Shape::capital ? i == 0 : shape == Shape::title && !after_cased;
      if (starts) {
        append_mapped(step.code, kToTitle, &out);
      } else {
        append_lower(text, i, step.code, after_cased, &out);
      }
      after_cased = is_cased(step.code);
    }
    i += step.length;
  }
  return out;
}

/// Length of the last character of a text that is not empty.
size_t last_length(std::string_view text) {
  for (size_t n = 1; n <= 4 && n <= text.size(); ++n) {
    if ((uint8_t(text[text.size() - n]) & 0xc0) == 0x80) continue;
    const Utf8Step step = utf8_step(text.substr(text.size() - n));
    return step.kind == Utf8Step::character && step.length == n ? n : 1;
  }
  return 1;
}

template <class Drop>
std::string_view strip_if(std::string_view text, bool left, bool right, Drop drop) {
  while (left && !text.empty()) {
    const size_t n = utf8_step(text).length;
    if (!drop(text.substr(0, n))) break;
    text.remove_prefix(n);
  }
  while (right && !text.empty()) {
    const size_t n = last_length(text);
    if (!drop(text.substr(text.size() - n))) break;
    text.remove_suffix(n);
  }
  return text;
}

bool space_char(std::string_view c) {
  const Utf8Step step = utf8_step(c);
  return step.kind == Utf8Step::character && py_is_space(step.code);
}

}  // namespace

bool py_is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string_view py_strip(std::string_view text, bool left, bool right) {
  return strip_if(text, left, right, space_char);
}

std::string_view py_strip(std::string_view text, std::string_view chars, bool left, bool right) {
  auto set = py_chars(chars);
  std::sort(set.begin(), set.end());
  return strip_if(text, left, right, [&](std::string_view c) { return std::binary_search(set.begin(), set.end(), c); });
}

size_t py_length(std::string_view text) {
  size_t n = 0;
  for (size_t i = 0; i < text.size(); i += utf8_step(text.substr(i)).length) ++n;
  return n;
}

std::vector<std::string_view> py_chars(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_step(text.substr(i)).length;
    out.push_back(text.substr(i, n));
    i += n;
  }
  return out;
}

std::string lower_each(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    if (step.kind == Utf8Step::character && step.code >= 0x80) {
      append_mapped(step.code, kToLower, &out);
    } else {
      out += text[i] >= 'A' && text[i] <= 'Z' ? char(text[i] + 32) : text[i];
      if (step.length > 1) out += text.substr(i + 1, step.length - 1);
    }
    i += step.length;
  }
  return out;
}

std::string py_upper(std::string_view text) { return shaped(text, Shape::upper); }
std::string py_lower(std::string_view text) { return shaped(text, Shape::lower); }
std::string py_capitalize(std::string_view text) { return shaped(text, Shape::capital); }
std::string py_title(std::string_view text) { return shaped(text, Shape::title); }

size_t py_find(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  const void* hit = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return hit == nullptr ? std::string_view::npos : size_t(static_cast<const char*>(hit) - text.data());
}

std::string py_replace(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // between all characters and at both ends
    for (const std::string_view c : py_chars(text)) {
      if (count == 0) break;
      out += to;
      out += c;
      at += c.size();
      --count;
    }
    out += text.substr(at);
    if (count != 0) out += to;
    return out;
  }
  for (; count != 0; --count) {
    const size_t hit = py_find(text, from, at);
    if (hit == std::string_view::npos) break;
    out += text.substr(at, hit - at);
    out += to;
    at = hit + from.size();
  }
  return out += text.substr(at);
}

std::vector<std::string_view> py_split(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> out;
  if (separator.empty()) {
    for (text = py_strip(text, true, false); !text.empty(); text = py_strip(text, true, false)) {
      if (limit-- == 0) {
        out.push_back(text);
        return out;
      }
      size_t end = 0;
      while (end < text.size() && !space_char(text.substr(end))) end += utf8_step(text.substr(end)).length;
      out.push_back(text.substr(0, end));
      text.remove_prefix(end);
    }
    return out;
  }
  for (;;) {
    const size_t hit = limit-- == 0 ? std::string_view::npos : py_find(text, separator);
    out.push_back(text.substr(0, hit));
    if (hit == std::string_view::npos) return out;
    text.remove_prefix(hit + separator.size());
  }
}

std::vector<std::string_view> py_rsplit(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> parts;
  if (limit < 0 && separator.empty()) return py_split(text, separator, limit);
  if (separator.empty()) {
    for (text = py_strip(text, false, true); !text.empty(); text = py_strip(text, false, true)) {
      if (limit-- == 0) {
        parts.push_back(text);
        break;
      }
      size_t begin = text.size();
      while (begin > 0) {
        const size_t n = last_length(text.substr(0, begin));
        if (space_char(text.substr(begin - n, n))) break;
        begin -= n;
      }
      parts.push_back(text.substr(begin));
      text = text.substr(0, begin);
    }
  } else {
    for (;;) {
      const size_t hit = limit-- == 0 ? std::string_view::npos : text.rfind(separator);
      if (hit == std::string_view::npos) break;
      parts.push_back(text.substr(hit + separator.size()));
      text = text.substr(0, hit);
    }
    parts.push_back(text);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> py_splitlines(std::string_view text) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    const uint32_t c = step.kind == Utf8Step::character ? step.code : 'x';
    const bool ends = (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
    size_t after = i + step.length;
    if (ends) {
      out.push_back(text.substr(begin, i - begin));
      if (c == '\r' && after < text.size() && text[after] == '\n') ++after;
      begin = after;
    }
    i = after;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::string py_repr(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos,
             both = single && text.find('"') != std::string_view::npos;
  const char quote = single && !both ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = utf8_step(text.substr(i));
    const uint32_t c = step.code;
    if (step.kind != Utf8Step::character) {
      out += text.substr(i, step.length);
    } else if (c == uint32_t(quote) || c == '\\') {
      out += {'\\', char(c)};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (printable(c)) {
      out += text.substr(i, step.length);
    } else {
      out += c < 0x100     ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    }
    i += step.length;
  }
  return out + quote;
}

std::string py_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::scientific).ptr;
  const std::string_view shortest(digits, size_t(end - digits));
  const int exponent = std::atoi(std::string(shortest.substr(shortest.find('e') + 1)).c_str());
  if (exponent < -4 || exponent >= 16)
    return std::string(shortest);  // two digits of exponent at least, as Python writes
  const auto plain_end = std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed).ptr;
  std::string plain(digits, size_t(plain_end - digits));
  if (plain.find('.') == std::string::npos) plain += ".0";
  return plain;
}

}  // namespace vibee
