// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/text/byte_count.h"

#include <charconv>
#include <utility>

namespace vibee {

std::optional<uint64_t> parse_byte_count(std::string_view text) {
  double number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc()) return std::nullopt;
  const std::string_view unit(end, size_t(text.data() + text.size() - end));
  for (const auto& [name, size] : {std::pair{"", 1.0}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}})
    if (unit == name && number * size >= 1 && number * size < 0x1p60) return uint64_t(number * size);
  return std::nullopt;
}

}  // namespace vibee
