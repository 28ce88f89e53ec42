// SPDX-License-Identifier: Apache-2.0
// Context-free rules over automata, and the table that a matcher runs. Rules are checked once: what can never be
// finished is left out, left recursion is refused, and every position knows how much stack its end needs, so that a
// text never runs into the limit of the stack.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/serve/grammar/automata.h"

namespace vibee {

struct Symbol {
  bool terminal;
  uint32_t id;  ///< the first state of an automaton (kDead: no text), or a rule
};

/// What the sources are translated to.
struct Rules {
  using Alternative = std::vector<Symbol>;
  struct Rule {
    std::string name;  ///< for messages
    std::vector<Alternative> alternatives;
  };

  explicit Rules(const ByteSet& spelled) : automata(spelled) {}
  /// A rule without alternatives.
  Symbol add(std::string name) {
    rules.push_back({std::move(name), {}});
    return {false, uint32_t(rules.size() - 1)};
  }
  Result<Symbol> terminal(Re expression) {
    VIBEE_ASSIGN(const uint32_t state, automata.add(regular, expression));
    return Symbol{true, state};
  }
  /// Refuses more symbols than a grammar may have.
  Status alternative(Symbol rule, Alternative symbols);

  Regular regular;
  Automata automata;
  std::vector<Rule> rules;
  size_t symbols = 0;
};

class RuleTable {
 public:
  static constexpr uint32_t kMaxStack = 256, kMaxSymbols = 200'000;
  enum Kind : uint8_t { end, terminal, rule };
  struct Position {
    Kind kind;
    uint16_t need;  ///< stack above the rule's own until its end
    uint32_t id;
  };

  static Result<RuleTable> make(const Rules& rules, Symbol root);

  const Position& at(uint32_t position) const { return positions_[position]; }
  /// First positions of a rule's alternatives.
  std::span<const uint32_t> alternatives(uint32_t rule) const {
    return std::span(starts_).subspan(first_[rule], first_[rule + 1] - first_[rule]);
  }
  /// A position that stands before the root alone.
  uint32_t root() const { return root_; }
  size_t bytes() const { return positions_.size() * sizeof(Position) + (starts_.size() + first_.size()) * 4; }

 private:
  std::vector<Position> positions_;
  std::vector<uint32_t> starts_, first_;
  uint32_t root_ = 0;
};

}  // namespace vibee
