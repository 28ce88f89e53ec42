// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vibee {

/// A positive number of bytes, of KiB, MiB or GiB: "900MiB", "2.5GiB"; nothing for other texts.
std::optional<uint64_t> parse_byte_count(std::string_view text);

}  // namespace vibee
