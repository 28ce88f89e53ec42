// SPDX-License-Identifier: Apache-2.0
// The terminals of a grammar as deterministic automata of bytes in one table. A state from which no accepting one can
// be reached by bytes that the vocabulary spells is not there: whoever stands in a state can finish.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/serve/grammar/regular.h"

namespace vibee {

class Automata {
 public:
  static constexpr uint32_t kDead = ~0u;

  /// `spelled`: the bytes that exist.
  explicit Automata(const ByteSet& spelled) : spelled_(spelled) {}
  /// The first state of the automaton of `expression`, kDead when it has no text. The same expression has the same one.
  /// Code::unsupported when that takes too many states.
  Result<uint32_t> add(Regular& regular, Re expression);

  uint32_t step(uint32_t state, uint8_t byte) const {
    const State& s = states_[state];
    return next_[s.row + classes_[s.automaton][byte]];
  }
  bool accepting(uint32_t state) const { return states_[state].accepting; }
  /// Whether any byte leads on.
  bool moves(uint32_t state) const { return states_[state].moves; }
  uint32_t size() const { return uint32_t(states_.size()); }
  size_t bytes() const { return states_.size() * sizeof(State) + next_.size() * 4 + classes_.size() * 256; }

  /// What step() reads, for loops that stay in one automaton.
  const uint8_t* classes_of(uint32_t state) const { return classes_[states_[state].automaton].data(); }
  const uint32_t* row_of(uint32_t state) const { return next_.data() + states_[state].row; }

 private:
  struct State {
    uint32_t row;
    uint32_t automaton;
    bool accepting, moves;
  };
  ByteSet spelled_;
  std::vector<State> states_;
  std::vector<uint32_t> next_;
  std::vector<std::array<uint8_t, 256>> classes_;  ///< of each automaton: bytes that it does not tell apart
  std::unordered_map<Re, uint32_t> starts_;
};

}  // namespace vibee
