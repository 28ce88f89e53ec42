// SPDX-License-Identifier: Apache-2.0
// Writing JSON: the one place where text becomes a JSON string or a number. RFC 8259.
#pragma once

#include <string>
#include <string_view>

namespace vibee {

/// A JSON string literal, quotes included. Bytes that are not UTF-8 become U+FFFD, so the result is always valid JSON.
std::string json_quote(std::string_view text);
/// The shortest digits that read back as the same double; null for infinities and NaN, which JSON does not have.
std::string json_number(double value);
/// The shortest digits that read back as the same float.
std::string json_float(float value);

}  // namespace vibee
