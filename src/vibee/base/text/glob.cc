// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/text/glob.h"

#include <algorithm>

namespace vibee {
namespace {

/// Where the set that begins behind a bracket ends; npos: there is none. A bracket right at its beginning is of it.
size_t set_end(std::string_view set) {
  size_t at = set.starts_with('!') ? 1 : 0;
  if (at < set.size() && set[at] == ']') ++at;
  return set.find(']', at);
}

bool in_set(std::string_view set, char c) {
  const bool other = set.starts_with('!');
  if (other) set.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < set.size(); ++i) {
    if (i + 2 < set.size() && set[i + 1] == '-') {
      found = found || (set[i] <= c && c <= set[i + 2]);
      i += 2;
    } else {
      found = found || set[i] == c;
    }
  }
  return found != other;
}

/// Whether the first of a pattern takes a character; how long it is in the pattern.
bool takes(std::string_view pattern, char c, size_t* length) {
  *length = 1;
  if (pattern[0] == '?') return true;
  if (pattern[0] == '[') {
    const size_t end = set_end(pattern.substr(1));
    if (end != std::string_view::npos) {
      *length = end + 2;
      return in_set(pattern.substr(1, end), c);
    }
  }
  return pattern[0] == c;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view name) {
  constexpr size_t kNone = std::string_view::npos;
  size_t at = 0, star = kNone, from = 0;  // the last star, and how much of the name it does not take
  for (size_t i = 0; i < name.size();) {
    size_t length = 0;
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      from = i;
    } else if (at < pattern.size() && takes(pattern.substr(at), name[i], &length)) {
      at += length;
      ++i;
    } else if (star != kNone) {
      at = star + 1;
      i = ++from;
    } else {
      return false;
    }
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

bool any_glob_matches(std::span<const std::string> patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](auto& pattern) { return glob_matches(pattern, name); });
}

}  // namespace vibee
