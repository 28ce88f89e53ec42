// SPDX-License-Identifier: Apache-2.0
// Python's str on UTF-8 bytes, as chat templates see it: characters are code points, white space and case are
// Unicode's. Bytes that are not UTF-8 count as characters of their own and stay as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vibee {

bool py_is_space(uint32_t code);
std::string_view py_strip(std::string_view text, bool left, bool right);
/// Strips any of the characters of `chars`.
std::string_view py_strip(std::string_view text, std::string_view chars, bool left, bool right);
/// Number of characters, and the characters one by one.
size_t py_length(std::string_view text);
std::vector<std::string_view> py_chars(std::string_view text);

/// Lower case character by character: a capital sigma never takes its final form.
std::string lower_each(std::string_view text);
std::string py_upper(std::string_view text);
std::string py_lower(std::string_view text);
/// First character in title case, the rest lower.
std::string py_capitalize(std::string_view text);
/// str.title(): every run of letters capitalised.
std::string py_title(std::string_view text);

/// Position of `what` at or after `from`, or npos; linear in the text whatever it holds.
size_t py_find(std::string_view text, std::string_view what, size_t from = 0);
std::string py_replace(std::string_view text, std::string_view from, std::string_view to, int64_t count);
/// An empty `separator` means runs of white space; `limit` < 0: no limit.
std::vector<std::string_view> py_split(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> py_rsplit(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> py_splitlines(std::string_view text);

/// repr() of a str and of a float.
std::string py_repr(std::string_view text);
std::string py_repr(double value);

}  // namespace vibee
