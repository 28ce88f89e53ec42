// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648 section 4), OpenSSL behind it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vibee {

std::string base64_encode(std::span<const uint8_t> bytes);
/// Nothing when `text` is no base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace vibee
