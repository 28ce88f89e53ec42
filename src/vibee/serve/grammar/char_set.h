// SPDX-License-Identifier: Apache-2.0
// Sets of code points, and the two ways in which a grammar writes one: as UTF-8, and as UTF-8 inside a JSON string.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "vibee/serve/grammar/regular.h"

namespace vibee {

/// Without the surrogates, which no UTF-8 text holds.
class CharSet {
 public:
  using Range = std::pair<uint32_t, uint32_t>;  ///< both ends are in it
  CharSet() = default;
  CharSet(std::initializer_list<Range> ranges) {
    for (const auto& [low, high] : ranges) add(low, high);
  }
  static CharSet all() { return {{0, 0x10ffff}}; }
  void add(uint32_t low, uint32_t high);
  void add(const CharSet& other) {
    for (const auto& [low, high] : other.ranges_) add(low, high);
  }
  CharSet complement() const;
  CharSet intersection(const CharSet& other) const;
  bool contains(uint32_t code) const;
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;  ///< ascending, apart
};

/// One character of the set.
Re utf8_char(Regular& regular, const CharSet& set);
/// The same as it stands in a JSON string, in its one shortest spelling: as itself, or \" \\ \b \f \n \r \t, or \u00XX.
Re json_char(Regular& regular, const CharSet& set);
/// A text as it stands in a JSON string, without the quotes; `text` is UTF-8.
Re json_literal(Regular& regular, std::string_view text);

}  // namespace vibee
