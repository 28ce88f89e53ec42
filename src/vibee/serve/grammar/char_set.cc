// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/char_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr uint32_t kLast = 0x10ffff, kSurrogates = 0xd800, kBehindSurrogates = 0xe000;

ByteSet byte_range(uint8_t low, uint8_t high) {
  ByteSet out;
  for (uint32_t b = low; b <= high; ++b) out.set(b);
  return out;
}

/// Characters of `low` to `high`, whose UTF-8 has the same length, from byte `at` on.
Re utf8_range(Regular& regular, std::string_view low, std::string_view high) {
  const auto a = uint8_t(low[0]), b = uint8_t(high[0]);
  if (low.size() == 1) return regular.set(byte_range(a, b));
  const std::string first(low.size() - 1, char(0x80)), last(low.size() - 1, char(0xbf));
  const std::string_view low_rest = low.substr(1), high_rest = high.substr(1);
  if (a == b) return regular.concat(regular.set(byte_range(a, a)), utf8_range(regular, low_rest, high_rest));
  std::vector<Re> parts;
  const auto part = [&](uint8_t from, uint8_t to, std::string_view rest_low, std::string_view rest_high) {
    if (from <= to)
      parts.push_back(regular.concat(regular.set(byte_range(from, to)), utf8_range(regular, rest_low, rest_high)));
  };
  const bool whole_low = low_rest == first, whole_high = high_rest == last;
  if (!whole_low) part(a, a, low_rest, last);
  part(uint8_t(a + (whole_low ? 0 : 1)), uint8_t(b - (whole_high ? 0 : 1)), first, last);
  if (!whole_high) part(b, b, first, high_rest);
  return regular.any_of(std::move(parts));
}

}  // namespace

void CharSet::add(uint32_t low, uint32_t high) {
  if (low < kSurrogates && high >= kSurrogates) {
    add(low, kSurrogates - 1);
    low = kBehindSurrogates;
  } else if (low >= kSurrogates && low < kBehindSurrogates) {
    low = kBehindSurrogates;
  }
  if (high >= kSurrogates && high < kBehindSurrogates) high = kSurrogates - 1;
  high = std::min(high, kLast);
  if (low > high) return;
  auto at = std::ranges::lower_bound(ranges_, low, {}, [](const Range& r) { return r.second + 1; });
  auto end = at;
  for (; end != ranges_.end() && end->first <= high + 1; ++end) {
    low = std::min(low, end->first);
    high = std::max(high, end->second);
  }
  ranges_.insert(ranges_.erase(at, end), {low, high});
}

CharSet CharSet::complement() const {
  CharSet out;
  uint32_t next = 0;
  for (const auto& [low, high] : ranges_) {
    if (low > next) out.add(next, low - 1);
    next = high + 1;
  }
  if (next <= kLast) out.add(next, kLast);
  return out;
}

CharSet CharSet::intersection(const CharSet& other) const {
  CharSet out = complement();
  out.add(other.complement());
  return out.complement();
}

bool CharSet::contains(uint32_t code) const {
  const auto at = std::ranges::lower_bound(ranges_, code, {}, [](const Range& r) { return r.second; });
  return at != ranges_.end() && at->first <= code;
}

Re utf8_char(Regular& regular, const CharSet& set) {
  constexpr uint32_t kLengths[] = {0x7f, 0x7ff, 0xffff, kLast};  // the last code points of 1 to 4 bytes
  std::vector<Re> parts;
  for (const auto& [low, high] : set.ranges()) {
    uint32_t from = low;
    for (const uint32_t last : kLengths) {
      if (from > last) continue;
      std::string a, b;
      append_utf8(from, &a);
      append_utf8(std::min(high, last), &b);
      parts.push_back(utf8_range(regular, a, b));
      if (high <= last) break;
      from = last + 1;
    }
  }
  return regular.any_of(std::move(parts));
}

Re json_char(Regular& regular, const CharSet& set) {
  static const CharSet kPlain = CharSet{{0, 0x1f}, {'"', '"'}, {'\\', '\\'}}.complement();
  std::vector<Re> parts = {utf8_char(regular, set.intersection(kPlain))};
  std::vector<Re> escaped;
  const auto escape = [&](uint32_t code, std::string_view text) {
    if (set.contains(code)) escaped.push_back(regular.literal(text));
  };
  escape('"', "\"");
  escape('\\', "\\");
  for (uint32_t code = 0; code < 0x20; ++code) {
    const size_t known = std::string_view("\b\f\n\r\t").find(char(code));
    if (known != std::string_view::npos)
      escape(code, std::string_view("bfnrt").substr(known, 1));
    else
      escape(code, fmt::format("u{:04x}", code));
  }
  parts.push_back(regular.concat(regular.literal("\\"), regular.any_of(std::move(escaped))));
  return regular.any_of(std::move(parts));
}

Re json_literal(Regular& regular, std::string_view text) {
  std::vector<Re> parts;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.kind == Utf8Step::character) parts.push_back(json_char(regular, {{step.code, step.code}}));
    text.remove_prefix(step.length);
  }
  return regular.sequence(parts);
}

}  // namespace vibee
