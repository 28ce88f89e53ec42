// SPDX-License-Identifier: Apache-2.0
// Regular expressions of bytes as a hash-consed set, and their derivatives (Brzozowski 1964; Owens, Reppy, Turon 2009):
// intersection and complement cost nothing extra, which is how bounds, lengths, patterns and excluded keys combine.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vibee {

using ByteSet = std::bitset<256>;
/// An expression of a Regular.
using Re = uint32_t;

class Regular {
 public:
  static constexpr Re kNothing = 0, kEmpty = 1, kEverything = 2;  ///< no text, the empty text, every text
  static constexpr uint32_t kForever = ~0u;

  Regular();
  Re set(const ByteSet& bytes);
  Re literal(std::string_view text);
  Re concat(Re a, Re b);
  Re sequence(std::span<const Re> parts);
  Re any_of(std::vector<Re> parts);
  Re all_of(std::vector<Re> parts);
  Re complement(Re a);
  Re repeat(Re a, uint32_t least, uint32_t most);
  Re optional(Re a) { return repeat(a, 0, 1); }
  /// Runs of decimal digits, the empty one included, whose number divided by `modulus` leaves 0 when it is put behind
  /// digits that leave `rest`.
  Re multiple(uint32_t modulus, uint32_t rest = 0);

  bool nullable(Re a) const { return nodes_[a].nullable; }
  /// The texts that follow `byte` in those of `a`.
  Re derivative(Re a, uint8_t byte);
  /// The sets that `a` is made of: bytes that no set tells apart have the same derivatives.
  std::vector<ByteSet> sets_of(Re a) const;
  /// Whether a budget of expressions, work or nesting is used up; whatever was made since is without meaning.
  bool exhausted() const { return exhausted_; }

 private:
  enum Kind : uint8_t { nothing, empty, bytes, both, either, every, negation, repetition, modular };
  struct Node {
    Kind kind;
    bool nullable;
    uint32_t a = 0, b = 0, c = 0;  ///< children, or bounds; of either and every: where children begin, and how many
  };
  Re intern(const Node& node, std::span<const Re> children = {});
  std::span<const Re> children(const Node& n) const { return std::span(children_).subspan(n.a, n.b); }
  Re derive(Re a, uint8_t byte);
  Re combine(Kind kind, std::vector<Re> parts);

  std::vector<Node> nodes_;
  std::vector<Re> children_;
  std::vector<ByteSet> sets_;
  std::unordered_multimap<uint64_t, Re> known_;
  std::unordered_map<uint64_t, Re> derived_;
  uint64_t work_ = 0;
  uint32_t depth_ = 0;
  bool exhausted_ = false;
};

}  // namespace vibee
